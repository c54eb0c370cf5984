package delivery

import "regexp"

// causeDetails match what differs in the causes of equal failures. What their first group matches
// is kept.
var causeDetails = []*regexp.Regexp{
	// The key of a customer's object, as in the ARN of a resource.
	regexp.MustCompile(`(segment-logs/)[^\s"'<>/]+/\d+/[^\s"'<>]+`),
	// Any object's key, as in errors of pkg/objstore.
	regexp.MustCompile(`(\bobject )"(?:[^"\\]|\\.)*"`),
	// As in what S3 quotes of KMS, and in errors of the AWS SDK.
	regexp.MustCompile(`(?i)(\b(?:request|host)[ _-]?id"?[:= ]+)[^\s"',;)]+`),
	// An address with its port: the names of AWS have many, and ours has another port each time.
	regexp.MustCompile(`(?:\b\d{1,3}(?:\.\d{1,3}){3}|\[[^\s\[\]]+\]):\d+\b`),
	// A duration: how long a file may take depends on its size.
	regexp.MustCompile(`\b(?:\d+(?:\.\d+)?(?:h|ms|m|µs|s))+\b`),
}

// CommonCause returns the cause without what may differ from one file, connection or request to the
// next, each replaced by "…": files that failed in the same way have the same. It is for counting
// them; Cause is what happened to this one.
func (p Parked) CommonCause() string {
	cause := p.Cause
	for _, detail := range causeDetails {
		cause = detail.ReplaceAllString(cause, "${1}…")
	}
	return cause
}
