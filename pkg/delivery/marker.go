package delivery

// The names under which roles remember things about one debt in Redis. They save work and may
// vanish at any time.

// LeaseName is the lease that a copier holds while it copies a file to a destination.
func LeaseName(r FileRef, destination string) string { return "copy/" + debtName(r, destination) }

// DoneMarker says that the debt's receipt exists.
func DoneMarker(r FileRef, destination string) string { return "done/" + debtName(r, destination) }

// QueuedMarker says that a job for the debt waits in a topic, so the auditor need not enqueue
// another one.
func QueuedMarker(r FileRef, destination string) string { return "queued/" + debtName(r, destination) }

func debtName(r FileRef, destination string) string { return r.String() + "/" + destination }
