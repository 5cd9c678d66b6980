package jsadmin

import (
	"errors"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// Error codes of the server that the client library does not name.
const (
	CodeNotClustered    jetstream.ErrorCode = 10074 // replicas > 1 not supported in non-clustered mode
	CodeNotAvailable    jetstream.ErrorCode = 10008 // no leader
	CodeOffline         jetstream.ErrorCode = 10118 // too few of the stream's servers are up
	CodeNoResources     jetstream.ErrorCode = 10023
	CodeMemoryExceeded  jetstream.ErrorCode = 10028
	CodeStorageExceeded jetstream.ErrorCode = 10047
	CodeStoreFailed     jetstream.ErrorCode = 10077 // "maximum bytes exceeded" and its like
	CodeStreamNotMatch  jetstream.ErrorCode = 10060 // the subject belongs to another stream
	CodeTTLInvalid      jetstream.ErrorCode = 10165
	CodeTTLDisabled     jetstream.ErrorCode = 10166
	CodeSealed          jetstream.ErrorCode = 10109
	CodeInvalidJSON     jetstream.ErrorCode = 10025 // a strict server met a member that it does not know
	CodeBatchesDisabled jetstream.ErrorCode = 10174 // the stream allows no atomic batches
	CodeBatchTooLarge   jetstream.ErrorCode = 10199 // more messages than the server takes in one
	CodeBatchHoldsSeen  jetstream.ErrorCode = 10201 // a message id that was seen: the batch is refused whole
)

// Code returns the code of the server's answer, or zero if err is none.
func Code(err error) jetstream.ErrorCode {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.ErrorCode
	}
	if js, ok := errors.AsType[jetstream.JetStreamError](err); ok && js.APIError() != nil {
		return js.APIError().ErrorCode
	}
	return 0
}

// IsCode reports whether err is an answer of the server with one of those codes.
func IsCode(err error, codes ...jetstream.ErrorCode) bool {
	return slices.Contains(codes, Code(err))
}

// IsElecting reports whether the server has refused a request for as long as the stream
// has no leader.
func IsElecting(err error) bool { return IsCode(err, CodeNotAvailable, CodeOffline) }

// IsFull reports whether the server has no room for a message, be it in the stream, in the
// account or on the disk.
func IsFull(err error) bool {
	return IsCode(err, CodeStoreFailed, CodeStorageExceeded, CodeMemoryExceeded, CodeNoResources)
}
