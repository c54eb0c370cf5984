package collector

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/sealift/sealift/pkg/event"
)

// refusal is any answer other than 200. It holds no part of a request.
type refusal struct {
	status int
	reason string        // a metric's label: few different values
	detail string        // what is wrong and what to do
	retry  bool          // with Retry-After
	after  time.Duration // when a retry will be accepted, if that is known
}

// newRefusal means that the same request will never be accepted.
func newRefusal(status int, reason, detail string) *refusal {
	return &refusal{status: status, reason: reason, detail: detail}
}

// retryLater means that the same request may be accepted later.
func retryLater(status int, reason, detail string) *refusal {
	return &refusal{status: status, reason: reason, detail: detail, retry: true}
}

func overloaded() *refusal {
	return retryLater(http.StatusServiceUnavailable, "overload", "too many requests in flight: try again")
}

// notStored says that neither Kafka nor the spool has the events; reason says why.
func notStored(reason string) *refusal {
	return retryLater(http.StatusServiceUnavailable, reason, "events cannot be stored just now: try again")
}

// eventRefusal returns the refusal for an error of package event: 413 for what can be sent in
// smaller requests, 400 for what will never be accepted.
func eventRefusal(err error) *refusal {
	var e *event.Error
	if !errors.As(err, &e) {
		return newRefusal(http.StatusBadRequest, string(event.ErrMalformed), err.Error())
	}
	status := http.StatusBadRequest
	if e.Reason == event.ErrBatchTooLarge || e.Reason == event.ErrTooManyEvents {
		status = http.StatusRequestEntityTooLarge
	}
	return newRefusal(status, string(e.Reason), e.Error())
}

var success = []byte(`{"success":true}` + "\n")

// answerSuccess answers 200. It lists the events that became dead letters, by their indexes in the
// batch: SDKs do not read that, but people who send a file want to know.
func answerSuccess(w http.ResponseWriter, rejected map[event.Reason][]int) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	if rejected == nil {
		_, _ = w.Write(success)
		return
	}
	_ = json.NewEncoder(w).Encode(struct {
		Success     bool                   `json:"success"`
		DeadLetters map[event.Reason][]int `json:"dead_letters"`
	}{true, rejected})
}

// answerRefusal writes a refusal.
func answerRefusal(w http.ResponseWriter, refused *refusal) int {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	switch {
	case refused.after > 0:
		seconds := strconv.FormatInt(int64((refused.after+time.Second-1)/time.Second), 10)
		header.Set("Retry-After", seconds)
		// In seconds, not as the time of day that other services put there: analytics.js waits for
		// that many seconds.
		header.Set("X-RateLimit-Reset", seconds)
	case refused.retry:
		// Random, because after an outage all clients come back.
		header.Set("Retry-After", strconv.Itoa(1+rand.IntN(5)))
	}
	w.WriteHeader(refused.status)
	_ = json.NewEncoder(w).Encode(struct {
		Success bool   `json:"success"`
		Code    string `json:"code"`
		Message string `json:"message"`
	}{false, refused.reason, refused.detail})
	return refused.status
}
