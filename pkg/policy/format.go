package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Format is a format in which documents are written.
type Format string

// Formats.
const (
	JSON           Format = "json"
	Terraform      Format = "terraform"
	CloudFormation Format = "cloudformation"
	CLI            Format = "cli"
)

// Formats are all formats.
var Formats = []Format{JSON, Terraform, CloudFormation, CLI}

// Render writes the set in a format, for people to read, keep and run. It returns an error if the
// format cannot express what is in the set.
func (s Set) Render(f Format) (string, error) {
	switch f {
	case JSON:
		return s.json(), nil
	case Terraform:
		return s.terraform(), nil
	case CloudFormation:
		return s.cloudFormation()
	case CLI:
		return s.script(), nil
	}
	return "", fmt.Errorf("no format %q", f)
}

// json returns the document itself if there is only one, so that it can be passed on, and otherwise
// all of them by kind.
func (s Set) json() string {
	if len(s.Documents) == 1 {
		return indentedJSON(s.Documents[0].Policy, "") + "\n"
	}
	var parts []string
	for _, d := range s.Documents {
		parts = append(parts, fmt.Sprintf("  %q: %s", d.Kind, indentedJSON(d.Policy, "  ")))
	}
	return "{\n" + strings.Join(parts, ",\n") + "\n}\n"
}

// indentedJSON returns v as JSON, in which all lines except the first begin with indent.
func indentedJSON(v any, indent string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent(indent, "  ")
	if err := e.Encode(v); err != nil {
		panic(err) // policies consist of strings, and NewSet made this one
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// compactJSON returns v as JSON on one line.
func compactJSON(v any) string {
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(indentedJSON(v, ""))); err != nil {
		panic(err) // it was just made
	}
	return b.String()
}

// inlinePolicyName returns the name of the role's inline policy. A role may serve several
// destinations, even of several workspaces.
func (s Set) inlinePolicyName() string { return "sealift-" + s.Target.Name + "-" + s.idSuffix() }

// comment describes what a document does, as text for a comment.
func (s Set) comment(k Kind) string {
	folder := "s3://" + s.Target.BucketName + "/"
	if s.Target.Prefix != "" {
		folder += s.Target.Prefix + "/"
	}
	folder += "segment-logs/"
	switch k {
	case Trust:
		return "Lets Sealift assume the role, with this workspace's external id only."
	case Role:
		return "Lets the role put files into " + folder + ", and nothing else."
	case Bucket:
		var does []string
		if !s.document(Bucket).Statement[0].Principal.Everyone {
			does = append(does, "Lets Sealift put files into "+folder+", and nothing else.")
		}
		if s.Options.EnforceEncryption {
			does = append(does, "Denies everybody to put files there with other encryption.")
		}
		if s.Options.SecureTransport {
			does = append(does, "Denies everybody to use the bucket without TLS.")
		}
		return strings.Join(does, " ")
	}
	if s.ownKey() {
		return "Lets the files be encrypted with the key. Most keys allow it already, to all of their account whose policies do."
	}
	return "Lets the files be encrypted with the key."
}

// roleName returns the name of the target's role, and its path, which begins and ends with a slash.
func (s Set) roleName() (name, path string) {
	_, whole, _ := strings.Cut(s.Target.RoleARN, ":role/")
	i := strings.LastIndex(whole, "/") + 1
	return whole[i:], "/" + whole[:i]
}
