package s3server

import "strings"

// Values of x-amz-server-side-encryption.
const (
	sseS3  = "AES256"
	sseKMS = "aws:kms"
)

func checkEncryption(meta *objectMeta) *apiError {
	switch meta.Header[headerSSE] {
	case "aws:kms", "aws:kms:dsse":
		return nil
	case "", "AES256":
		if meta.Header[headerKMSKey] != "" {
			return invalidArgument("Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms")
		}
		return nil
	}
	return invalidArgument("The encryption method specified is not supported")
}

// applyEncryption decides how an object is encrypted, by the request or else by the bucket's
// default, and whether the caller may use the key.
func (s *Server) applyEncryption(r *request, bucket bucketMeta, o *objectMeta) *apiError {
	how, key := o.Header[headerSSE], o.Header[headerKMSKey]
	switch {
	case how == "" && bucket.Key != "":
		how, key = sseKMS, bucket.Key
	case how == "":
		how = sseS3
	case how != sseS3 && key == "":
		key = ManagedKey
	}
	o.Header[headerSSE] = how
	if how == sseS3 {
		return nil
	}
	o.Context = objectARN(bucket.Region, r.bucket, r.key)
	if bucket.BucketKey {
		o.Context, o.Header[headerBucketKey] = bucketARN(bucket.Region, r.bucket), "true"
	}
	arn, failed := s.useKey(r, bucket, key, "kms:GenerateDataKey", o.Context)
	if failed != nil {
		return failed
	}
	o.Header[headerKMSKey] = arn
	return nil
}

// checkDecrypt decides whether the caller may read an object's bytes.
func (s *Server) checkDecrypt(r *request, bucket bucketMeta, o *objectMeta) *apiError {
	key := o.Header[headerKMSKey]
	if key == "" {
		return nil
	}
	if strings.HasSuffix(key, ":"+ManagedKey) {
		key = ManagedKey
	}
	_, failed := s.useKey(r, bucket, key, "kms:Decrypt", o.Context)
	return failed
}
