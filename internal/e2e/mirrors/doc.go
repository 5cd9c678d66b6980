// Package mirrors tests replicas that follow another stream than the one that is published
// to: mirrors, and leaf nodes with a line between.
package mirrors
