package objstore

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// listing is a page of the answer to ListObjectsV2.
type listing struct {
	XMLName  xml.Name `xml:"ListBucketResult"`
	Contents []struct {
		Key, ETag    string
		Size         int64
		LastModified time.Time
	}
	CommonPrefixes        []struct{ Prefix string }
	EncodingType          string
	IsTruncated           bool
	NextContinuationToken string
}

// decode decodes URL-encoded keys, if the store supports that encoding. Without it, a single
// control character in a key that somebody stored would make the whole page invalid XML.
func (l *listing) decode() (err error) {
	if l.EncodingType != "url" {
		return nil
	}
	for i := range l.Contents {
		o := &l.Contents[i]
		if o.Key, err = url.QueryUnescape(o.Key); err != nil {
			return err
		}
	}
	for i := range l.CommonPrefixes {
		p := &l.CommonPrefixes[i]
		if p.Prefix, err = url.QueryUnescape(p.Prefix); err != nil {
			return err
		}
	}
	return nil
}

// nextPage reports whether there is another page, and changes the query to request it.
func (l *listing) nextPage(q url.Values) bool {
	q.Del("start-after")
	q.Set("continuation-token", l.NextContinuationToken)
	return l.IsTruncated
}

// checkContinuation returns an error if the page's keys are not after the requested key, or if the
// page does not say how to get the next one. Such a listing would end early, or never.
func (l *listing) checkContinuation(q url.Values, after string) error {
	switch {
	case len(l.Contents) > 0 && after != "" && l.Contents[0].Key <= after:
		return errors.New("the answer is of keys that were not asked for")
	case l.IsTruncated && l.NextContinuationToken == "":
		return errors.New("the answer says that there is more, and not where")
	case l.IsTruncated && l.NextContinuationToken == q.Get("continuation-token"):
		return errors.New("the answer leads to itself")
	}
	return nil
}

// listPage requests one page of the keys after the given one.
func (s *S3) listPage(ctx context.Context, q url.Values, after string) (*listing, error) {
	q.Set("list-type", "2")
	q.Set("encoding-type", "url")
	r := &request{op: "list", method: http.MethodGet, query: q, header: http.Header{}}
	answer, err := s.send(ctx, r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	l := new(listing)
	if err := xml.NewDecoder(io.LimitReader(answer.Body, maxAnswerBytes)).Decode(l); err != nil {
		return nil, s.badAnswerError(ctx, r, answer, fmt.Errorf("answer is no listing: %s", clip(err.Error(), maxMessageBytes)))
	}
	err = l.decode()
	if err == nil {
		err = l.checkContinuation(q, after)
	}
	if err != nil {
		return nil, s.badAnswerError(ctx, r, answer, err)
	}
	_, _ = io.CopyN(io.Discard, answer.Body, 1) // read to the end, so that the connection can be reused
	return l, nil
}

// List implements Store. It is one request, unless the store answers with a short page although
// there is more, as S3 may do when it skips deleted keys.
func (s *S3) List(ctx context.Context, prefix, startAfter string, limit int) ([]Info, error) {
	limit = clampList(limit)
	q := url.Values{}
	if prefix != "" {
		q.Set("prefix", prefix)
	}
	if startAfter != "" {
		q.Set("start-after", startAfter)
	}
	var infos []Info
	for {
		q.Set("max-keys", strconv.Itoa(limit-len(infos)))
		l, err := s.listPage(ctx, q, startAfter)
		if err != nil {
			return nil, err
		}
		for _, o := range l.Contents {
			infos = append(infos, Info{Key: o.Key, Size: o.Size, ETag: plain(strings.Trim(o.ETag, `"`)), LastModified: o.LastModified})
			startAfter = o.Key
		}
		if len(infos) >= limit || !l.nextPage(q) {
			return infos, nil
		}
	}
}

func clampList(limit int) int {
	if limit <= 0 || limit > 1000 {
		return 1000
	}
	return limit
}

// Folders implements Reader.
func (s *S3) Folders(ctx context.Context, prefix string) ([]string, error) {
	q := url.Values{"delimiter": {"/"}}
	if prefix != "" {
		q.Set("prefix", prefix)
	}
	var names []string
	for {
		page, cancel := context.WithTimeout(ctx, readTryTimeout)
		l, err := s.listPage(page, q, "")
		cancel()
		if err != nil {
			return nil, err
		}
		for _, p := range l.CommonPrefixes {
			names = append(names, strings.TrimSuffix(strings.TrimPrefix(p.Prefix, prefix), "/"))
		}
		if !l.nextPage(q) {
			return names, nil
		}
	}
}

// GetFrom implements Reader.
func (s *S3) GetFrom(ctx context.Context, key, etag string, from int64) (io.ReadCloser, Info, error) {
	span := ""
	if from > 0 {
		span = fmt.Sprintf("bytes=%d-", from)
	}
	return s.get(ctx, key, etag, span, from)
}

// GetRange implements Store.
func (s *S3) GetRange(ctx context.Context, key string, from, length int64) (io.ReadCloser, error) {
	body, _, err := s.get(ctx, key, "", fmt.Sprintf("bytes=%d-%d", from, from+length-1), from)
	var answer *Error
	if errors.As(err, &answer) && answer.Status == http.StatusRequestedRangeNotSatisfiable {
		return http.NoBody, nil
	}
	if err != nil {
		return nil, err
	}
	return limitedBody{io.LimitReader(body, length), body}, nil
}

// limitedBody is the beginning of a body.
type limitedBody struct {
	io.Reader
	io.Closer
}

// get opens the part of an object that the Range header span selects; it begins at from.
func (s *S3) get(ctx context.Context, key, etag, span string, from int64) (io.ReadCloser, Info, error) {
	r := &request{op: "get", method: http.MethodGet, key: key, header: http.Header{}}
	if span != "" {
		r.header["Range"] = []string{span}
	}
	if etag != "" {
		r.header["If-Match"] = []string{`"` + etag + `"`}
	}
	answer, err := s.send(ctx, r)
	if err != nil {
		return nil, Info{}, err
	}
	body, info := s.reader(ctx, r, answer, false), describe(key, answer)
	if answer.StatusCode == http.StatusPartialContent {
		first, size := contentRange(answer.Header)
		if span == "" || first != from {
			_ = body.Close()
			return nil, Info{}, s.badAnswerError(ctx, r, answer, fmt.Errorf("the answer is another part of the object, %q", clip(answer.Header.Get("Content-Range"), maxCodeBytes)))
		}
		if size < 0 && info.Size >= 0 { // this is the last part, or the caller does not use the size
			size = from + info.Size
		}
		info.Size = size
		return body, info, nil
	}
	// A store without support for ranges sends the whole object.
	if _, err := io.CopyN(io.Discard, body, from); err != nil && !errors.Is(err, io.EOF) {
		_ = body.Close()
		return nil, Info{}, s.requestError(ctx, r, ErrUnavailable, err)
	}
	return body, info, nil
}

// contentRange parses the Content-Range header, such as "bytes 4-9/10". It returns where the part
// begins and the object's size, or -1 for what the header does not say.
func contentRange(h http.Header) (first, size int64) {
	span, total, _ := strings.Cut(h.Get("Content-Range"), "/")
	begin, _, _ := strings.Cut(strings.TrimPrefix(span, "bytes "), "-")
	first, err := strconv.ParseInt(begin, 10, 64)
	if err != nil {
		first = -1
	}
	size, err = strconv.ParseInt(total, 10, 64)
	if err != nil {
		size = -1
	}
	return first, size
}
