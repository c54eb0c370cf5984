// Command go sends calls through Segment's analytics-go or, if built with the tag rudder, through
// Rudder's fork of it. See run.sh -h.
//
// Usage: go URL WRITE_KEY CALLS ROUNDS
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"reflect"
	"strconv"
	"time"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix(name + ": ")
	if len(os.Args) != 5 {
		log.Fatal("usage: go URL WRITE_KEY CALLS ROUNDS")
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		log.Fatal(err)
	}
}

// call is a JSON object. Its numbers are kept as written.
type call map[string]any

func run(url, key, calls, rounds string) error {
	text, err := os.ReadFile(calls)
	if err != nil {
		return err
	}
	var templates []json.RawMessage
	if err := json.Unmarshal(text, &templates); err != nil {
		return err
	}
	n, err := strconv.Atoi(rounds)
	if err != nil {
		return err
	}
	count := n * len(templates)
	results := make(outcomes, count)
	client, err := open(url, key, results)
	if err != nil {
		return err
	}
	start := time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.UTC)
	out := json.NewEncoder(os.Stdout)
	for i := range count {
		if i == count/2 {
			fmt.Println(`{"half":true}`)
			_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		}
		var c call
		if err := decode(templates[i%len(templates)], &c); err != nil {
			return err
		}
		c["messageId"], c["timestamp"] = fmt.Sprintf("%s-%d", name, i), start.Add(time.Duration(i)*time.Millisecond)
		if err := out.Encode(map[string]any{"call": c}); err != nil {
			return err
		}
		m, err := newMessage(c)
		if err != nil {
			return err
		}
		if err := client.Enqueue(m); err != nil {
			return err
		}
	}
	// Close drops messages that are being retried, so wait for all results first.
	for range count {
		if err := <-results; err != nil {
			return fmt.Errorf("a message was dropped: %w", err)
		}
	}
	return client.Close()
}

func newMessage(c call) (message, error) {
	switch c["type"] {
	case "identify":
		return setFields(&identify{}, c)
	case "track":
		return setFields(&track{}, c)
	case "page":
		return setFields(&page{}, c)
	case "screen":
		return setFields(&screen{}, c)
	case "group":
		return setFields(&group{}, c)
	default:
		return setFields(&alias{}, c)
	}
}

// setFields sets the fields of an SDK's message by their JSON names. The whole context goes into
// Extra of the SDK's context, where users put fields that the SDK does not know.
func setFields[M message](m M, c call) (message, error) {
	fields := call{"originalTimestamp": c["timestamp"]} // the fork's name for the timestamp
	for k, v := range c {
		if k != "context" {
			fields[k] = v
		}
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	if extra, ok := c["context"].(map[string]any); ok {
		reflect.ValueOf(m).Elem().FieldByName("Context").Set(reflect.ValueOf(&context{Extra: extra}))
	}
	return m, decode(text, m)
}

func decode(text []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return dec.Decode(v)
}

// outcomes receives nil for each message that was accepted, and an error for each one that the SDK
// gave up.
type outcomes chan error

func (o outcomes) Success(message) { o <- nil }

func (o outcomes) Failure(_ message, err error) { o <- err }
