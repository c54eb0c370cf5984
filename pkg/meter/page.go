package meter

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/sealift/sealift/pkg/strictjson"
)

// formatVersion is the version in pages and sums.
const formatVersion = 1

// errBadPage is the decoders' error.
var errBadPage = errors.New("malformed page of requests")

// page is what a copier noted over some period. It is never changed.
type page struct {
	Version      int                `json:"version"`
	Worker       string             `json:"worker"`
	Number       int64              `json:"number"` // increases for each worker
	From         int64              `json:"from"`   // unix ms, beginning of the period
	To           int64              `json:"to"`     // unix ms, end of the period
	Destinations map[string]Account `json:"destinations"`
}

// sum is everything noted in the pages that were folded into it. Each sum replaces the one before.
type sum struct {
	Version int   `json:"version"`
	Number  int64 `json:"number"` // from 0
	// Folded says, by worker, which pages are counted.
	Folded       map[string]folded  `json:"folded"`
	Since        int64              `json:"since"` // unix ms, since when the sum counts
	Destinations map[string]Account `json:"destinations"`
}

// folded means that a worker's pages up to Through are counted.
type folded struct {
	Through int64 `json:"through"`
	At      int64 `json:"at"` // unix ms, when Through was last raised
}

const (
	pagesPrefix = "usage/pages/"
	sumsPrefix  = "usage/sums/"
)

// pageKey is the key of a page in the staging bucket.
func pageKey(worker string, number int64) string {
	return fmt.Sprintf("%s%s/%019d.json", pagesPrefix, worker, number)
}

// parsePageKey is the inverse of pageKey; ok is false for keys that pageKey does not produce.
func parsePageKey(key string) (worker string, number int64, ok bool) {
	worker, name, found := strings.Cut(strings.TrimPrefix(key, pagesPrefix), "/")
	number, err := strconv.ParseInt(strings.TrimSuffix(name, ".json"), 10, 64)
	return worker, number, found && err == nil && number >= 0 && worker != "" && pageKey(worker, number) == key
}

// SumKey is the key of a sum. Numbers count down, so that listing a single key finds the newest.
func SumKey(number int64) string {
	return fmt.Sprintf("%s%019d.json", sumsPrefix, math.MaxInt64-number)
}

func parseSumKey(key string) (number int64, ok bool) {
	n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(key, sumsPrefix), ".json"), 10, 64)
	number = math.MaxInt64 - n
	return number, err == nil && n >= 0 && SumKey(number) == key
}

// encode returns the page's bytes.
func (p page) encode() []byte {
	p.Version = formatVersion
	return encode(p)
}

// decodePage parses a page strictly; the error wraps errBadPage.
func decodePage(b []byte) (page, error) {
	var p page
	if err := decode(b, &p); err != nil {
		return page{}, err
	}
	if p.Version != formatVersion || p.Worker == "" || p.Number < 0 {
		return page{}, fmt.Errorf("%w: version, worker and number must be set", errBadPage)
	}
	return p, nil
}

// encode returns the sum's bytes.
func (s sum) encode() []byte {
	s.Version = formatVersion
	return encode(s)
}

// decodeSum parses a sum strictly; the error wraps errBadPage.
func decodeSum(b []byte) (sum, error) {
	var s sum
	if err := decode(b, &s); err != nil {
		return sum{}, err
	}
	if s.Version != formatVersion || s.Number < 0 || s.Folded == nil || s.Destinations == nil {
		return sum{}, fmt.Errorf("%w: version, number, folded and destinations must be set", errBadPage)
	}
	return s, nil
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // no field can fail to marshal
		panic(err)
	}
	return append(b, '\n')
}

func decode(b []byte, v any) error {
	if err := strictjson.Decode(b, v); err != nil {
		return fmt.Errorf("%w: %w", errBadPage, err)
	}
	return nil
}
