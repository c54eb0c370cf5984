package spelling

import (
	"strconv"
	"strings"
)

// Hours returns a whole number of days or weeks in a form that time.ParseDuration takes: "168h" for
// "7d", "7 days" or "1w". It returns "" if text is something else.
func Hours(text string) string {
	unit := strings.TrimLeft(text, "0123456789")
	n, err := strconv.ParseUint(strings.TrimSuffix(text, unit), 10, 16)
	if err != nil {
		return ""
	}
	switch strings.ToLower(strings.TrimSpace(unit)) {
	case "d", "day", "days":
		n *= 24
	case "w", "week", "weeks":
		n *= 7 * 24
	default:
		return ""
	}
	return strconv.FormatUint(n, 10) + "h"
}
