// Package schemas holds the formats that Sealift promises to keep, as
// documents beside this file and as JSON Schemas that the code embeds and
// checks against. It is for people who produce or consume those formats, in
// any language. It contains no logic.
package schemas

import _ "embed"

// Catalog is the JSON Schema of one catalog document as people write it
// (catalog.md). The rules that a schema cannot express are in pkg/catalog.
//
//go:embed catalog.schema.json
var Catalog []byte

// OpenAPI is the document of the Tracking API that a collector serves, OpenAPI
// 3.1. Tests of workers/collector hold it against the code.
//
//go:embed openapi.yaml
var OpenAPI []byte
