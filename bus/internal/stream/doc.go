// Package stream is what the stream of revocations has to be: the settings and the metadata
// it is made with, and what is wrong with those of a stream that a server describes.
//
// It asks no server. WIRE.md, beside package bus, names the metadata for other languages.
package stream
