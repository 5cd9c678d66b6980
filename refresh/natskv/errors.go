package natskv

import "errors"

// Errors that callers tell apart. A [refresh.Manager] answers them as refresh.ErrTryAgain.
var (
	// ErrNoBucket means that the bucket does not exist. [CreateBucket] makes it, once.
	ErrNoBucket = errors.New("no such bucket (natskv.CreateBucket makes it, once)")

	// ErrFull means that the bucket has reached its MaxBytes, less 2 % that are kept for
	// keyrings, or for a new record also less a tenth and what the records that there are may
	// grow by: nothing was written. Sessions that expire make room.
	ErrFull = errors.New("bucket full")
)

var (
	// errUnanswered means that a write was sent and not answered before ctx ended: the
	// record may have been written, or may be yet.
	errUnanswered = errors.New("write not answered")

	// errBucketUnsafe means that the bucket would forget sessions or bring dead ones
	// back. The error lists what is wrong with it.
	errBucketUnsafe = errors.New("bucket unsafe")

	// errBucketExists is returned by [CreateBucket] for a bucket that exists with
	// another configuration. The error lists the differences.
	errBucketExists = errors.New("bucket exists with another configuration")
)
