package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Folders implements Reader.
func (s *S3) Folders(ctx context.Context, prefix string) ([]string, error) {
	in := &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: optional(prefix), Delimiter: aws.String("/"), ExpectedBucketOwner: s.owner}
	var names []string
	for {
		out, err := s.client.ListObjectsV2(ctx, in, s.as)
		if err != nil {
			return nil, s.classify(ctx, "list", prefix, err)
		}
		for _, p := range out.CommonPrefixes {
			names = append(names, strings.TrimSuffix(strings.TrimPrefix(aws.ToString(p.Prefix), prefix), "/"))
		}
		if !aws.ToBool(out.IsTruncated) || out.NextContinuationToken == nil {
			return names, nil
		}
		in.ContinuationToken = out.NextContinuationToken
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
	return limited{io.LimitReader(body, length), body}, nil
}

// limited is a part of a body.
type limited struct {
	io.Reader
	io.Closer
}

// get opens what the header Range says, which begins at from.
func (s *S3) get(ctx context.Context, key, etag, span string, from int64) (io.ReadCloser, Info, error) {
	in := &s3.GetObjectInput{Bucket: &s.bucket, Key: &key, ExpectedBucketOwner: s.owner, Range: optional(span)}
	if etag != "" {
		in.IfMatch = aws.String(`"` + etag + `"`)
	}
	out, err := s.client.GetObject(ctx, in, s.as, func(o *s3.Options) {
		// It would hash everything once more, and cannot judge a part.
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})
	if err != nil {
		return nil, Info{}, s.classify(ctx, "get", key, err)
	}
	body := &objectReader{ReadCloser: out.Body, fail: func(err error) error { return s.classify(ctx, "get", key, err) }}
	info := s.describe(key, out)
	if from == 0 {
		return body, info, nil
	}
	if _, total, ok := strings.Cut(aws.ToString(out.ContentRange), "/"); ok {
		if info.Size, err = strconv.ParseInt(total, 10, 64); err != nil {
			info.Size = from + aws.ToInt64(out.ContentLength)
		}
		return body, info, nil
	}
	// A store that does not know ranges sends everything.
	if _, err := io.CopyN(io.Discard, body, from); err != nil && !errors.Is(err, io.EOF) {
		_ = body.Close()
		return nil, Info{}, s.classify(ctx, "get", key, err)
	}
	return body, info, nil
}

// describe is what the answer to a GET tells of the object.
func (s *S3) describe(key string, out *s3.GetObjectOutput) Info {
	return Info{
		Key: key, Size: aws.ToInt64(out.ContentLength), ETag: unquote(out.ETag), LastModified: aws.ToTime(out.LastModified),
		ContentType: aws.ToString(out.ContentType), ContentEncoding: aws.ToString(out.ContentEncoding), Metadata: lowerKeys(out.Metadata),
	}
}
