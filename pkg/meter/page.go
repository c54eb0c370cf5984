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

// FormatVersion is the version in pages and sums.
const FormatVersion = 1

// ErrBadPage is the decoders' error.
var ErrBadPage = errors.New("malformed page of requests")

// Page is what a copier noted over some period. It is never changed.
type Page struct {
	Version      int                `json:"version"`
	Worker       string             `json:"worker"`
	Number       int64              `json:"number"` // increases for each worker
	From         int64              `json:"from"`   // unix ms, beginning of the period
	To           int64              `json:"to"`     // unix ms, end of the period
	Destinations map[string]Account `json:"destinations"`
}

// Sum is everything noted in the pages that were folded into it. Each sum replaces the one before.
type Sum struct {
	Version int   `json:"version"`
	Number  int64 `json:"number"` // from 0
	// Folded says, by worker, which pages are counted.
	Folded       map[string]Folded  `json:"folded"`
	Since        int64              `json:"since"` // unix ms, since when the sum counts
	Destinations map[string]Account `json:"destinations"`
}

// Folded means that a worker's pages up to Through are counted.
type Folded struct {
	Through int64 `json:"through"`
	At      int64 `json:"at"` // unix ms, when Through was last raised
}

const (
	pagesPrefix = "usage/pages/"
	sumsPrefix  = "usage/sums/"
)

// PageKey is the key of a page in the staging bucket.
func PageKey(worker string, number int64) string {
	return fmt.Sprintf("%s%s/%019d.json", pagesPrefix, worker, number)
}

// ParsePageKey is the inverse of PageKey; ok is false for keys that PageKey does not produce.
func ParsePageKey(key string) (worker string, number int64, ok bool) {
	worker, name, found := strings.Cut(strings.TrimPrefix(key, pagesPrefix), "/")
	number, err := strconv.ParseInt(strings.TrimSuffix(name, ".json"), 10, 64)
	return worker, number, found && err == nil && number >= 0 && worker != "" && PageKey(worker, number) == key
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

// Encode returns the page's bytes.
func (p Page) Encode() []byte {
	p.Version = FormatVersion
	return encode(p)
}

// DecodePage parses a page strictly; the error wraps ErrBadPage.
func DecodePage(b []byte) (Page, error) {
	var p Page
	if err := decode(b, &p); err != nil {
		return Page{}, err
	}
	if p.Version != FormatVersion || p.Worker == "" || p.Number < 0 {
		return Page{}, fmt.Errorf("%w: version, worker and number must be set", ErrBadPage)
	}
	return p, nil
}

// Encode returns the sum's bytes.
func (s Sum) Encode() []byte {
	s.Version = FormatVersion
	return encode(s)
}

// DecodeSum parses a sum strictly; the error wraps ErrBadPage.
func DecodeSum(b []byte) (Sum, error) {
	var s Sum
	if err := decode(b, &s); err != nil {
		return Sum{}, err
	}
	if s.Version != FormatVersion || s.Number < 0 || s.Folded == nil || s.Destinations == nil {
		return Sum{}, fmt.Errorf("%w: version, number, folded and destinations must be set", ErrBadPage)
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
		return fmt.Errorf("%w: %w", ErrBadPage, err)
	}
	return nil
}
