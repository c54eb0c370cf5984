// Package strictyaml parses YAML written by people into plain trees that keep the line and the
// literal text of every value, so that errors can point at them and nothing is reinterpreted: 007
// stays 007.
//
// It supports the subset that configuration needs: mappings with plain keys, sequences and scalars,
// in one or several documents. It refuses duplicate keys, anchors, aliases, merge keys and tags. It
// knows no schema.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// ErrSyntax is wrapped by every error of Parse.
var ErrSyntax = errors.New("not the YAML that is understood here")

// Kind says what a node holds.
type Kind int

// Kinds of nodes.
const (
	Null Kind = iota
	String
	Number
	Bool
	Sequence
	Mapping
)

func (k Kind) String() string {
	return [...]string{"nothing", "text", "a number", "true or false", "a list", "a mapping"}[k]
}

// Node is one value.
type Node struct {
	Kind Kind
	Line int     // starts at 1
	Text string  // of a scalar: as it was written, without quotes
	List []*Node // of a sequence
	Keys []Pair  // of a mapping, in the order of the document
}

// Pair is one key of a mapping and its value.
type Pair struct {
	Key   string
	Line  int
	Value *Node
}

// Get returns the value of key in a mapping, or nil.
func (n *Node) Get(key string) *Node {
	for _, p := range n.Keys {
		if p.Key == key {
			return p.Value
		}
	}
	return nil
}

// Parse returns the documents that are not empty. Its error wraps ErrSyntax and names the line,
// never the content, because documents may hold secrets.
func Parse(b []byte) ([]*Node, error) {
	var docs []*Node
	for _, d := range split(bytes.TrimPrefix(b, []byte("\ufeff"))) { // editors on Windows write a byte order mark
		n, err := parse(d)
		if err != nil {
			return nil, err
		}
		if n != nil {
			docs = append(docs, n)
		}
	}
	return docs, nil
}

// document is the text of one document and the number of lines before it.
type document struct {
	text        []byte
	linesBefore int
}

// split cuts the text at document markers. This is not left to the parser, which silently drops
// everything after an empty document. A line that starts with a marker is a marker, even inside a
// block scalar (YAML 1.2.2, 9.1.2).
func split(b []byte) []document {
	docs, line := []document{{}}, 0
	for l := range bytes.Lines(b) {
		d := &docs[len(docs)-1]
		if rest, ok := marker(l); ok {
			docs = append(docs, document{text: rest, linesBefore: line})
		} else {
			d.text = append(d.text, l...)
		}
		line++
	}
	return docs
}

// marker returns what follows a document marker on its line.
func marker(line []byte) (rest []byte, ok bool) {
	for _, m := range []string{"---", "..."} {
		rest, ok := bytes.CutPrefix(line, []byte(m))
		if ok && (len(rest) == 0 || bytes.ContainsAny(rest[:1], " \t\r\n")) {
			return append([]byte("   "), rest...), true
		}
	}
	return nil, false
}

func parse(d document) (n *Node, err error) {
	defer func() {
		if r := recover(); r != nil { // the parser panics on some malformed documents
			n, err = nil, syntaxError(d.linesBefore+1, "the document is malformed")
		}
	}()
	file, err := parser.ParseBytes(d.text, 0)
	if err != nil {
		var at yaml.Error
		if errors.As(err, &at) && at.GetToken() != nil {
			what := at.GetMessage()
			if strings.Contains(at.GetToken().Origin, "\t") {
				what = "a tab begins the line or a value; indent with spaces"
			}
			return nil, syntaxError(d.linesBefore+at.GetToken().Position.Line, what)
		}
		return nil, syntaxError(d.linesBefore+1, "the document is malformed")
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil || file.Docs[0].Body.Type() == ast.CommentType {
		return nil, nil
	}
	if len(file.Docs) > 1 {
		return nil, syntaxError(d.linesBefore+1, "the document is malformed")
	}
	c := converter{linesBefore: d.linesBefore}
	return c.node(file.Docs[0].Body)
}

func syntaxError(line int, what string) error {
	return fmt.Errorf("line %d: %w: %s", line, ErrSyntax, what)
}

// converter turns a syntax tree into nodes.
type converter struct{ linesBefore int }

func (c converter) line(n ast.Node) int {
	if t := n.GetToken(); t != nil {
		return c.linesBefore + t.Position.Line
	}
	return c.linesBefore + 1
}

func (c converter) node(n ast.Node) (*Node, error) {
	line := c.line(n)
	switch n := n.(type) {
	case *ast.NullNode:
		return &Node{Kind: Null, Line: line}, nil
	case *ast.StringNode:
		return &Node{Kind: String, Line: line, Text: n.Value}, nil
	case *ast.LiteralNode:
		return &Node{Kind: String, Line: line, Text: n.Value.Value}, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return &Node{Kind: Number, Line: line, Text: strings.TrimSpace(n.GetToken().Value)}, nil
	case *ast.BoolNode:
		return &Node{Kind: Bool, Line: line, Text: strings.TrimSpace(n.GetToken().Value)}, nil
	case *ast.SequenceNode:
		out := &Node{Kind: Sequence, Line: line}
		for _, v := range n.Values {
			if text, ok := colonText(v); ok {
				out.List = append(out.List, &Node{Kind: String, Line: c.line(v), Text: text})
				continue
			}
			item, err := c.node(v)
			if err != nil {
				return nil, err
			}
			out.List = append(out.List, item)
		}
		return out, nil
	case *ast.MappingNode:
		return c.mapping(line, n.Values)
	case *ast.MappingValueNode:
		return c.mapping(line, []*ast.MappingValueNode{n})
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.DirectiveNode:
		return nil, syntaxError(line, "anchors, aliases and tags are refused; write the value out")
	case nil:
		return &Node{Kind: Null, Line: line}, nil
	}
	return nil, syntaxError(line, "unexpected "+strings.ToLower(n.Type().String()))
}

// colonText returns the text of a list item such as host:9092. If the list is inside braces, the
// parser takes such an item for a mapping, but a colon without a space after it is part of the text
// (YAML 1.2.2, 7.3.3).
func colonText(item ast.Node) (string, bool) {
	m, ok := item.(*ast.MappingNode)
	if !ok || m.IsFlowStyle || len(m.Values) != 1 {
		return "", false
	}
	pair := m.Values[0]
	if _, scalar := pair.Value.(ast.ScalarNode); !scalar {
		return "", false
	}
	key, colon, value := pair.Key.GetToken(), pair.Start, pair.Value.GetToken()
	if !isUnquoted(key) || !isUnquoted(value) || colon == nil || key.Position.Line != value.Position.Line ||
		key.Position.Column+utf8.RuneCountInString(key.Value) != colon.Position.Column || colon.Position.Column+1 != value.Position.Column {
		return "", false
	}
	return key.Value + ":" + value.Value, true
}

// isUnquoted reports whether t is written without quotes.
func isUnquoted(t *token.Token) bool {
	return t != nil && t.Type != token.SingleQuoteType && t.Type != token.DoubleQuoteType
}

func (c converter) mapping(line int, values []*ast.MappingValueNode) (*Node, error) {
	out := &Node{Kind: Mapping, Line: line}
	for _, v := range values {
		line := c.line(v.Key)
		key, ok := keyText(v.Key)
		if !ok {
			return nil, syntaxError(line, "keys must be plain text, and merge keys are refused; write the keys out")
		}
		value := &Node{Kind: Null, Line: line}
		if v.Value != nil {
			var err error
			if value, err = c.node(v.Value); err != nil {
				return nil, err
			}
		}
		if value.Kind == Mapping || value.Kind == Sequence {
			value.Line = line // the line of the key, not of the first child
		}
		out.Keys = append(out.Keys, Pair{Key: key, Line: line, Value: value})
	}
	return out, nil
}

func keyText(k ast.MapKeyNode) (string, bool) {
	if k.IsMergeKey() {
		return "", false
	}
	switch k := k.(type) {
	case *ast.StringNode:
		return k.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return strings.TrimSpace(k.GetToken().Value), true
	}
	return "", false
}
