package config

import _ "embed"

// Reference is a configuration file with all keys and their defaults, commented out. Above each key
// is its description, taken from the comments of Config's fields. A test checks that they agree;
// `go test ./pkg/config -run Reference -update` rewrites the file.
//
//go:embed reference.yaml
var Reference string
