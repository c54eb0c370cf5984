package plan

import "github.com/sealift/sealift/pkg/meter"

// Price is one line of the price list.
type Price struct {
	What string  `json:"what"`
	USD  float64 `json:"usd"` // for one unit
	Unit string  `json:"unit"`
}

// PriceSource says where the prices are from. Prices of other regions and contracts differ: costs
// are linear in them, so replace them by your own.
const PriceSource = "list prices of AWS in us-east-1, https://aws.amazon.com/s3/pricing/ and https://aws.amazon.com/kms/pricing/, November 2026"

// storagePrice is the price of S3 Standard for the first 50 TB, per GB and month.
const storagePrice = 0.023

// prices returns the price list. Traffic to S3 within a region and STS are free.
func prices() []Price {
	return []Price{
		{"PUT, LIST", meter.PutPrice, "request"},
		{"GET, HEAD", meter.GetPrice, "request"},
		{"GenerateDataKey", meter.DataKeyPrice, "request"},
		{"AssumeRole", 0, "request"},
		{"storage", storagePrice, "GB-month"},
	}
}

// priceOf returns the price of one request of an operation.
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
