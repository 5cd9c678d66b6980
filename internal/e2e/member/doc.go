// Package member tests a bus.Member as a whole: how it joins, goes on over connections that
// end, says what is wrong, and closes.
package member
