// Package proxies holds the tests that need a real proxy in front of a service.
package proxies
