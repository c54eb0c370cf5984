package destination

import "cmp"

// Fix says what to do about a failure.
type Fix struct {
	// Do is what a person can do. If Retry is set, it is for the case that the failure lasts, and
	// may be "".
	Do string
	// Retry is why nothing needs to be done yet, like "it is tried again"; "" if something does.
	Retry string
}

// String returns the text to show as long as the job is retried automatically.
func (f Fix) String() string {
	switch {
	case f.Retry == "":
		return f.Do
	case f.Do == "":
		return "none: " + f.Retry
	}
	return "none: " + f.Retry + "; if it lasts, " + f.Do
}

// Parked returns the text to show when the job is retried only by the command again.
func (f Fix) Parked(retryCommand string) string {
	if f.Retry == "" {
		return f.Do
	}
	return cmp.Or(f.Do, "remove the cause") + ", then: " + retryCommand
}

// MarshalText implements encoding.TextMarshaler: in JSON a Fix is its String.
func (f Fix) MarshalText() ([]byte, error) { return []byte(f.String()), nil }
