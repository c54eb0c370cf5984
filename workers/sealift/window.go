package main

import (
	"fmt"
	"time"

	"github.com/sealift/sealift/pkg/spelling"
)

// parseTime reads a moment: how long ago, a UTC day or hour, or a time. "" gives the zero time.
func parseTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02T15", "2006-01-02T15h", "2006-01-02T15:04Z", time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	if hours := spelling.Hours(text); hours != "" {
		return time.Time{}, fmt.Errorf("%q is no time, since the largest unit is h; write %s", text, hours)
	}
	return time.Time{}, fmt.Errorf("%q is no time; write how long ago (48h), a UTC day (2026-11-22), hour (2026-11-22T14) or time (2026-11-22T14:30:00Z)", text)
}

// parseWindow reads the flags --since and --until.
func parseWindow(since, until string) (from, to time.Time, err error) {
	now := time.Now()
	if from, err = parseTime(since, now); err != nil {
		return from, to, usageError("--since: " + err.Error())
	}
	if to, err = parseTime(until, now); err != nil {
		return from, to, usageError("--until: " + err.Error())
	}
	return from, to, checkWindow(from, to)
}

// checkWindow refuses a window in which nothing can be: its empty result would be taken for an
// answer.
func checkWindow(from, to time.Time) error {
	if !from.IsZero() && !to.IsZero() && !to.After(from) {
		return usageError(fmt.Sprintf("--until has to be after --since: this is from %s until %s", from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339)))
	}
	return nil
}

// parseHour is like parseTime, but accepts only beginnings of hours. How long ago is counted back
// from the beginning of the current hour.
func parseHour(text string, now time.Time) (time.Time, error) {
	t, err := parseTime(text, now.Truncate(time.Hour))
	if hour := t.UTC().Truncate(time.Hour); err == nil && !t.Equal(hour) {
		err = fmt.Errorf("%q is not the beginning of an hour: files are of whole UTC hours; write %s", text, hour.Format("2006-01-02T15"))
	}
	return t, err
}
