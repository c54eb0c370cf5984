package plan

import "github.com/sealift/sealift/pkg/meter"

// Price is one line of the price list.
type Price struct {
	What string  `json:"what"`
	USD  float64 `json:"usd"` // for one
	Unit string  `json:"unit"`
}

// PriceSource says where the prices are from. Those of other regions, and of
// contracts, differ: put your own in place of them, costs are linear.
const PriceSource = "list prices of AWS in us-east-1, https://aws.amazon.com/s3/pricing/ and https://aws.amazon.com/kms/pricing/, November 2026"

// storagePrice is S3 Standard's, the first 50 TB, for a GB and month.
const storagePrice = 0.023

// Prices returns the price list. Traffic to S3 within a region and STS are free.
func Prices() []Price {
	return []Price{
		{"PUT, LIST", meter.PutPrice, "request"},
		{"GET, HEAD", meter.GetPrice, "request"},
		{"GenerateDataKey", meter.DataKeyPrice, "request"},
		{"AssumeRole", 0, "request"},
		{"storage", storagePrice, "GB-month"},
	}
}

// priceOf is the price of a request of that operation.
func priceOf(op string) float64 {
	switch op {
	case "put", "list":
		return meter.PutPrice
	case "get", "head":
		return meter.GetPrice
	case "data_key":
		return meter.DataKeyPrice
	}
	return 0
}
