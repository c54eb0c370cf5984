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

// refusal is an answer other than 200. It holds no part of a request.
type refusal struct {
	status int
	reason string        // few values: a metric's label
	detail string        // what is wrong and what to do
	retry  bool          // with Retry-After
	after  time.Duration // when a retry will be taken, if that is known
}

// refuse says that the same request will never be taken.
func refuse(status int, reason, detail string) *refusal {
	return &refusal{status: status, reason: reason, detail: detail}
}

// retryLater says that the same request may be taken later.
func retryLater(status int, reason, detail string) *refusal {
	return &refusal{status: status, reason: reason, detail: detail, retry: true}
}

func overloaded() *refusal {
	return retryLater(http.StatusServiceUnavailable, "overload", "too many requests in flight: try again")
}

func kafkaAway() *refusal {
	return retryLater(http.StatusServiceUnavailable, "kafka", "events cannot be stored just now: try again")
}

const goneReason = "client_gone"

func clientGone() *refusal {
	return retryLater(http.StatusServiceUnavailable, goneReason, "the client has gone")
}

// refuseEvent is why a body was refused. 413 is for what can be sent in
// smaller requests, 400 for what will never be taken.
func refuseEvent(err error) *refusal {
	var e *event.Error
	if !errors.As(err, &e) {
		return refuse(http.StatusBadRequest, string(event.ErrMalformed), err.Error())
	}
	status := http.StatusBadRequest
	if e.Reason == event.ErrBatchTooLarge || e.Reason == event.ErrTooManyEvents {
		status = http.StatusRequestEntityTooLarge
	}
	return refuse(status, string(e.Reason), e.Error())
}

var success = []byte(`{"success":true}` + "\n")

// accept answers 200. It tells which events became dead letters, by their indexes in
// the batch: SDKs do not read it, but who sends a file wants to know.
func accept(w http.ResponseWriter, rejected map[event.Reason][]int) {
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

// answer writes a refusal.
func answer(w http.ResponseWriter, no *refusal) int {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	switch {
	case no.after > 0:
		seconds := strconv.FormatInt(int64((no.after+time.Second-1)/time.Second), 10)
		header.Set("Retry-After", seconds)
		// Not the time of day that others put there: analytics.js waits for so many seconds.
		header.Set("X-RateLimit-Reset", seconds)
	case no.retry:
		// Spread: all clients of an outage come back.
		header.Set("Retry-After", strconv.Itoa(1+rand.IntN(5)))
	}
	w.WriteHeader(no.status)
	_ = json.NewEncoder(w).Encode(struct {
		Success bool   `json:"success"`
		Code    string `json:"code"`
		Message string `json:"message"`
	}{false, no.reason, no.detail})
	return no.status
}
