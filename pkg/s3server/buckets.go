package s3server

import (
	"cmp"
	"encoding/xml"
	"net/http"
	"time"
)

// listBuckets is s3:ListAllMyBuckets.
func (s *Server) listBuckets(w http.ResponseWriter, r *request) *apiError {
	if failed := s.authorize(r, bucketMeta{}, "s3:ListAllMyBuckets", "*"); failed != nil {
		return failed
	}
	type listed struct {
		Name, CreationDate, BucketRegion string
	}
	var out struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListAllMyBucketsResult"`
		ID      string   `xml:"Owner>ID"`
		Buckets []listed `xml:"Buckets>Bucket"`
	}
	out.ID = s.cfg.Account
	for _, name := range s.Buckets() {
		s.mu.RLock()
		b := s.buckets[name]
		s.mu.RUnlock()
		if b == nil {
			continue // deleted just now
		}
		meta := b.metadata()
		out.Buckets = append(out.Buckets, listed{name, meta.Created.UTC().Format(time.RFC3339), meta.Region})
	}
	writeXML(w, http.StatusOK, out)
	return nil
}

// createBucket is s3:CreateBucket.
func (s *Server) createBucket(w http.ResponseWriter, r *request) *apiError {
	if failed := s.authorize(r, bucketMeta{}, "s3:CreateBucket", bucketARN(r.auth.region, r.bucket)); failed != nil {
		return failed
	}
	var order struct {
		LocationConstraint string
	}
	if failed := readXML(r, &order); failed != nil {
		return failed
	}
	s.mu.RLock()
	exists := s.buckets[r.bucket] != nil
	s.mu.RUnlock()
	if where := order.LocationConstraint; r.auth.region != "us-east-1" && where != r.auth.region {
		return illegalLocation(cmp.Or(where, "unspecified"))
	}
	if exists {
		return apiErrorf(http.StatusConflict, "BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.")
	}
	if !bucketName.MatchString(r.bucket) {
		return apiErrorf(http.StatusBadRequest, "InvalidBucketName", "The specified bucket is not valid.")
	}
	created := Bucket{Name: r.bucket, Region: cmp.Or(order.LocationConstraint, r.auth.region)}
	if !r.auth.principal.isOperator {
		created.Owner = r.auth.principal.Account
	}
	if err := s.PutBucket(created); err != nil {
		return internalError(err)
	}
	w.Header().Set("Location", "/"+r.bucket)
	w.WriteHeader(http.StatusOK)
	return nil
}

// headBucket is s3:ListBucket without the listing.
func (s *Server) headBucket(w http.ResponseWriter, r *request) *apiError {
	b, failed := s.bucketFor(r, "s3:ListBucket")
	if b != nil { // the region is revealed even to those without permission
		w.Header().Set("X-Amz-Bucket-Region", b.metadata().Region)
	}
	if failed != nil {
		return failed
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// deleteBucket is s3:DeleteBucket.
func (s *Server) deleteBucket(w http.ResponseWriter, r *request) *apiError {
	b, failed := s.bucketFor(r, "s3:DeleteBucket")
	if failed != nil {
		return failed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	removed, err := b.remove()
	if removed {
		delete(s.buckets, r.bucket)
	}
	switch {
	case err != nil:
		return internalError(err)
	case !removed:
		return apiErrorf(http.StatusConflict, "BucketNotEmpty", "The bucket you tried to delete is not empty")
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// getBucketLocation is s3:GetBucketLocation.
func (s *Server) getBucketLocation(w http.ResponseWriter, r *request) *apiError {
	b, failed := s.bucketFor(r, "s3:GetBucketLocation")
	if failed != nil {
		return failed
	}
	region := b.metadata().Region
	if region == "us-east-1" {
		region = "" // as in S3
	}
	writeXML(w, http.StatusOK, struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ LocationConstraint"`
		Region  string   `xml:",chardata"`
	}{Region: region})
	return nil
}
