package event

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

func TestInspect(t *testing.T) {
	for name, c := range map[string]struct {
		value, id string
		broken    bool
		ok        bool
	}{
		"empty":                  {`{}`, "", false, true},
		"all_kinds":              {`{"a":[1,-0.5e+3,"x\u00e9\"",true,false,null,{},[]],"b":{"c":{}}}`, "", false, true},
		"id":                     {`{"a":{"messageId":"no"},"messageId":"m"}`, "m", false, true},
		"first_of_two_ids":       {`{"messageId":"m","messageId":"n"}`, "m", false, true},
		"first_id_is_an_object":  {`{"messageId":{"a":1},"messageId":"n"}`, "", false, true},
		"escaped_id":             {`{"message\u0049d":"\u006d\""}`, `m"`, false, true},
		"number_id":              {`{"messageId":12.50}`, "12.50", false, true},
		"empty_id":               {`{"messageId":""}`, "", false, true},
		"null_id":                {`{"messageId":null}`, "", false, true},
		"spaces":                 {" { \"a\" :\t[ 1 , 2 ] } ", "", false, true},
		"broken":                 {"{\"a\":1,\n\"b\":2}", "", true, true},
		"broken_by_a_return":     {"{\r}", "", true, true},
		"invalid_utf8":           {"{\"a\":\"\xff\"}", "", false, true},
		"newline_in_a_string":    {"{\"a\":\"\n\"}", "", false, false},
		"comma_before_the_end":   {`{"a":1,}`, "", false, false},
		"comma_in_an_array":      {`{"a":[1,]}`, "", false, false},
		"comma_first":            {`{"a":[,1]}`, "", false, false},
		"no_comma":               {`{"a":[1 2]}`, "", false, false},
		"no_colon":               {`{"a" 1}`, "", false, false},
		"no_name":                {`{1:1}`, "", false, false},
		"no_value":               {`{"a":}`, "", false, false},
		"wrong_end_of_an_object": {`{"a":1]`, "", false, false},
		"wrong_end_of_an_array":  {`{"a":[1}}`, "", false, false},
		"two_objects":            {`{}{}`, "", false, false},
		"array":                  {`[]`, "", false, false},
		"string":                 {`"a"`, "", false, false},
		"nothing":                {``, "", false, false},
		"zero_byte_after_it":     {"{}\x00", "", false, false},
		"cut":                    {`{"a":[{"b":`, "", false, false},
		"NaN":                    {`{"a":NaN}`, "", false, false},
		"leading_zero":           {`{"a":01}`, "", false, false},
		"at_the_limit":           {`{"a":` + strings.Repeat("[", MaxNesting-1) + strings.Repeat("]", MaxNesting-1) + `}`, "", false, true},
		"past_the_limit":         {`{"a":` + strings.Repeat("[", MaxNesting) + strings.Repeat("]", MaxNesting) + `}`, "", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			o, ok := Inspect([]byte(c.value))
			require.Equal(t, c.ok, ok)
			if ok {
				require.Equal(t, c.id, string(o.MessageID))
				require.Equal(t, c.broken, o.LineBreaks)
			}
		})
	}
}

// FuzzInspect compares Inspect with encoding/json and gjson.
func FuzzInspect(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"messageId":"x"}],"messageId":"m"}`))
	f.Add([]byte("{\"a\":[1,\n{}]}"))
	f.Add(sampleBatch(1, true))
	f.Fuzz(func(t *testing.T, value []byte) {
		before := bytes.Clone(value)
		o, ok := Inspect(value)
		require.Equal(t, before, value)
		require.Equal(t, json.Valid(value) && bytes.TrimLeft(value, " \t\r\n")[0] == '{', ok)
		if !ok {
			return
		}
		require.Equal(t, bytes.ContainsAny(value, "\r\n"), o.LineBreaks) // strings contain none
		if id := gjson.GetBytes(value, "messageId"); id.Type == gjson.Number {
			require.Equal(t, id.Raw, string(o.MessageID))
		} else if id.Type == gjson.String && json.Valid([]byte(id.Raw)) {
			var want string
			require.NoError(t, json.Unmarshal([]byte(id.Raw), &want))
			if !strings.Contains(id.Raw, `\`) { // invalid UTF-8 stays as it is
				want = id.Raw[1 : len(id.Raw)-1]
			}
			require.Equal(t, want, string(o.MessageID))
		} else {
			require.Empty(t, o.MessageID)
		}
	})
}

// BenchmarkInspect compares Inspect with the passes that it replaces.
func BenchmarkInspect(b *testing.B) {
	line := gjson.GetBytes(sampleBatch(1, false), "batch.0").Raw
	value := []byte(line)
	run := func(name string, fn func()) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			for b.Loop() {
				fn()
			}
		})
	}
	run("Inspect", func() { Inspect(value) })
	run("gjson+bytes", func() {
		_ = gjson.ValidBytes(value) && !bytes.ContainsAny(value, "\n\r") && gjson.GetBytes(value, "messageId").Exists()
	})
	run("gjson.Valid", func() { gjson.ValidBytes(value) })
	run("json.Valid", func() { json.Valid(value) })
}
