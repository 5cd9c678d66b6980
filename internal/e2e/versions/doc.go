// Package versions tests this version beside the one before: members of both on one stream,
// and files, streams and buckets that the other has written.
package versions
