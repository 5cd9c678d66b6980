package bus

import (
	"crypto"
	"crypto/ed25519"
	"crypto/tls"
	"log/slog"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// Config configures [Join], which copies it. Exactly one of Servers, Conn and InProcess
// says where the servers are; at least one of Issuers and List says what for.
type Config struct {
	// Servers are the URLs of the NATS servers, separated by commas, with the scheme nats,
	// tls, ws or wss, or none, which means nats. Name all servers of a cluster: a Member
	// whose server looks healthy and brings no heartbeats moves to another.
	Servers string

	// Conn is a connection of the caller, who goes on owning it: [Member.Close] does not
	// close it. A replica behind a connection that has ended is stale for ever, so Join
	// refuses a closed one ([ErrClosed]) and, by name, options that let it end by itself:
	// [nats.MaxReconnects] must be negative, and [nats.IgnoreAuthErrorAbort] set. It warns
	// of a [nats.PingInterval] above 5 s. The client library still closes a connection for
	// good at an error of the server that it does not know, such as the one for a message
	// larger than a max_payload that was lowered; the Member then reports
	// [revoke.ReasonClosed] and is no longer ready. A connection that Join makes is dialled
	// again. Nil: Join makes one.
	Conn *nats.Conn

	// InProcess is a server in this process, such as one of package bus/embedded, to which
	// the connection is made without a socket. Nil: none.
	InProcess nats.InProcessConnProvider

	// Shared says that others use Conn too. The Member then never moves it to another
	// server: behind a server that is cut off from its peers it stays stale until that
	// server is back, and reports it. False: it moves Conn, and requests that are under way
	// fail as they do in a reconnect.
	Shared bool

	// CredentialsFile is a NATS credentials file (JWT and seed). Empty: none; other ways to
	// authenticate go into Options. Not used with Conn, like the next three.
	CredentialsFile string

	// TLS is used for the connection, which is then always encrypted. Nil: the scheme of
	// the URL and the server decide. InsecureSkipVerify without a check of its own in
	// VerifyConnection or VerifyPeerCertificate is logged as a warning: an attacker on the
	// network can then read, forge and hold back revocations.
	TLS *tls.Config

	// InboxPrefix begins the subjects of replies. Set it, together with the connection's
	// subscribe permission, so that nobody else in the account can read or forge
	// acknowledgements. Empty: the client library's "_INBOX".
	InboxPrefix string

	// Options are applied after the defaults and before the settings that safety depends
	// on: endless reconnecting, no buffering while disconnected. Empty: none.
	Options []nats.Option

	// List is fed from the stream. It must not be fed by another Member, nor be Local.
	// Nil: this Member only publishes.
	List *revoke.List

	// Issuers are the iss of the tokens that this Member may revoke. Publish refuses events
	// of any other, because a trailing slash too many would revoke nothing, silently. An
	// event that names no issuer is of the only one, and is refused where there are
	// several. Empty: this Member only follows. At most 256, each once.
	Issuers []string

	// Stream is the name of the stream. Empty: [DefaultStream].
	Stream string

	// Name tells this member from others in heartbeats and in the server's list of
	// connections; at most 128 bytes. Empty: the host's name.
	Name string

	// NoHeartbeats keeps this member from publishing heartbeats, for connections that may
	// not. Someone else must then, or nobody is ever fresh.
	NoHeartbeats bool

	// NoAnnouncements keeps this member from answering the roll calls of package
	// bus/rollcall, which then do not wait for it. Subject, there, says what rights answering
	// takes.
	NoAnnouncements bool

	// Signer signs the events of the mass kinds (subject, client, tenant, key, issuer)
	// that this Member publishes, for members with a Trust. It holds an Ed25519 key, in
	// memory (an [ed25519.PrivateKey]) or in a KMS; each event is signed once, however
	// often it is sent, within the time that the call has. It keeps the key that it has
	// at Join; one that exchanges it, panics or hangs fails the call. Nil: they are not
	// signed.
	Signer crypto.Signer

	// Trust holds the public keys whose signatures count. With it this Member ignores and
	// counts ([revoke.FaultUnsigned]) events of the mass kinds that none of them has
	// signed, and heeds critical marks only where one has: a member that may merely
	// publish can then revoke tokens and sessions, whose ids nobody guesses, and nothing
	// else. To exchange a key, add the new one everywhere, then exchange the Signer, and
	// remove the old key when what it signed has expired. Nil: none need be signed.
	// Empty is refused; at most 16 keys.
	Trust []ed25519.PublicKey

	// OutboxFile names a file in which a publisher keeps its events until they expire:
	// those that are not acknowledged yet are on the disk before they are first sent, and
	// are published in the background, also after a restart, until they are; those that
	// are acknowledged are published again if the stream has lost them, also if it lost
	// them while this process was down. It costs Publish one write to the disk, which
	// events published at the same time share (BenchmarkPublish, on a shared machine:
	// 0.9 ms for one publisher, whose events took 1.3 ms without, to a stream synced on
	// the same disk; 0.1 ms an event for 64).
	//
	// An event that could not be published yet and is in the file is reported by
	// [ErrKept], also one published before this Member has ever seen the stream: what it
	// leaves out of Until, the stream's retention says when it is sent. The file has mode
	// 0600 and is bounded as what is kept in memory is; it holds what events name (jti,
	// sid, sub) and no secret. Each Member needs its own, in a directory where nobody else
	// may write; an event in it that no key of Signer or Trust has signed is published as
	// it stands, never signed. What goes wrong with the file is logged and counted
	// ([Publishing].OutboxFailures), and keeps nothing from being published: a disk that
	// fails, also while it is opened, is tried again. A damaged file is kept beside the new
	// one ([Publishing].OutboxSetAside); what checks out of it is published again. Join
	// refuses a file that is no outbox, or holds events of an issuer that Issuers lacks
	// ([ErrOutbox]). Empty: a restart forgets.
	OutboxFile string

	// Logger receives warnings about the connection and the stream, losses and changes of
	// state. Nil: silent.
	Logger *slog.Logger
}
