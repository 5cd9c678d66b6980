package rig

import (
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
)

// Guarded is a server where verifiers may publish nothing but what following takes,
// members may send heartbeats besides, and strangers may not even follow. These
// rights are the fewest that work, not a wall: see
// TestFollowersCanWriteThroughReplies.
func Guarded(o *server.Options) {
	follow := []string{
		"$JS.API.STREAM.INFO." + bus.DefaultStream,
		"$JS.API.CONSUMER.CREATE." + bus.DefaultStream + ".*",
		"$JS.API.CONSUMER.MSG.NEXT." + bus.DefaultStream + ".*",
		"$JS.API.CONSUMER.DELETE." + bus.DefaultStream + ".*",
	}
	inbox := func(name string) *server.SubjectPermission {
		return &server.SubjectPermission{Allow: []string{"_INBOX_" + name + ".>"}}
	}
	member := append([]string{bus.HeartbeatSubject}, follow...)
	o.Users = []*server.User{
		{Username: "admin", Password: "x"},
		{Username: "verifier", Password: "x", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: follow}, Subscribe: inbox("verifier")}},
		{Username: "member", Password: "x", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: member}, Subscribe: inbox("member")}},
		{Username: "stranger", Password: "x", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{"nothing"}}, Subscribe: inbox("stranger")}},
	}
}

// As is how a user of Guarded connects.
func As(user string) []nats.Option {
	opts := []nats.Option{nats.UserInfo(user, "x")}
	if user != "admin" {
		opts = append(opts, nats.CustomInboxPrefix("_INBOX_"+user))
	}
	return opts
}
