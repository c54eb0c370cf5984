// Package collectortest tells tests that send events to a collector when to send them again. It is
// only for tests.
//
// It promises to tell a Kafka that is slow, as on a busy machine, from every other refusal. It does
// not send anything.
package collectortest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
)

// KafkaIsSlow reports whether a collector answered 503 because Kafka did not store the events in
// time, as on a busy machine. Another 503 is a failure. It reads the answer's body, and leaves a copy
// of it.
func KafkaIsSlow(answer *http.Response) (slow bool, body []byte, err error) {
	body, err = io.ReadAll(answer.Body)
	err = errors.Join(err, answer.Body.Close())
	answer.Body = io.NopCloser(bytes.NewReader(body))
	var refusal struct{ Code string }
	slow = answer.StatusCode == http.StatusServiceUnavailable && json.Unmarshal(body, &refusal) == nil && refusal.Code == "kafka"
	return slow, body, err
}
