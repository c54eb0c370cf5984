package s3server

import "maps"

// Requests returns how many requests arrived per operation ("PutObject", "AssumeRole"), including
// refused ones, and how often the use of a KMS key was requested ("GenerateDataKey", "Decrypt").
func (s *Server) Requests() map[string]int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.counts)
}

// BucketRequests is Requests for a single bucket.
func (s *Server) BucketRequests(bucket string) map[string]int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.bucketCounts[bucket])
}

func (s *Server) count(op, bucket string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[op]++
	if s.buckets[bucket] == nil { // the request is not authenticated yet, so the name may be anything
		return
	}
	if s.bucketCounts[bucket] == nil {
		s.bucketCounts[bucket] = map[string]int64{}
	}
	s.bucketCounts[bucket][op]++
}
