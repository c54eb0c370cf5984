package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ByteSize is a number of bytes, written as "100MB", "512MiB" or a number.
// MB is a million bytes, MiB is 2^20.
type ByteSize int64

var byteUnits = []struct {
	name string
	size int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3},
	{"B", 1},
}

// ParseByteSize reads what String writes, in any case, with decimals ("1.5GiB")
// and with a space before the unit.
func ParseByteSize(text string) (ByteSize, error) {
	wrong := fmt.Errorf("%q is not a size; write a number of bytes, or one with KB, MB, GB, KiB, MiB or GiB, like 100MB", text)
	number, unit := strings.TrimSpace(text), int64(1)
	for _, u := range byteUnits {
		if n := len(number) - len(u.name); n > 0 && strings.EqualFold(number[n:], u.name) {
			number, unit = strings.TrimSpace(number[:n]), u.size
			break
		}
	}
	if strings.Trim(number, "0123456789.") != "" {
		return 0, wrong // no signs, exponents or hexadecimals
	}
	if whole, err := strconv.ParseInt(number, 10, 64); err == nil {
		if whole > math.MaxInt64/unit {
			return 0, fmt.Errorf("%q is too large", text)
		}
		return ByteSize(whole * unit), nil
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || f*float64(unit) >= math.MaxInt64 {
		return 0, wrong
	}
	return ByteSize(math.Round(f * float64(unit))), nil
}

// String returns the shortest exact form.
func (b ByteSize) String() string {
	best := strconv.FormatInt(int64(b), 10)
	if b == 0 {
		return best
	}
	for _, u := range byteUnits[:len(byteUnits)-1] {
		if int64(b)%u.size == 0 {
			if s := strconv.FormatInt(int64(b)/u.size, 10) + u.name; len(s) <= len(best) {
				best = s
			}
		}
	}
	return best
}

// MarshalText returns what String does.
func (b ByteSize) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText parses like ParseByteSize.
func (b *ByteSize) UnmarshalText(text []byte) (err error) {
	*b, err = ParseByteSize(string(text))
	return err
}
