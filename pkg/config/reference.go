package config

import _ "embed"

// Reference is a configuration file of all keys with their defaults, commented
// out, each below what it means: the comments of Config's fields (a test holds them
// together; `go test ./pkg/config -run Reference -update` writes it).
//
//go:embed reference.yaml
var Reference string
