package jsadmin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrNoBatches means that the servers know no atomic batches.
var ErrNoBatches = errors.New("the servers know no atomic batches, which came with nats-server 2.12")

// AllowBatches has an existing stream take atomic batches, and changes nothing else of it.
// The settings go back to the server as it gave them: those that the client library does not
// know, too.
func AllowBatches(ctx context.Context, name string, ask func(ctx context.Context, subject string, request func(context.Context, jetstream.JetStream) error) error) error {
	config, err := rawConfig(ctx, "STREAM.INFO", name, nil, ask)
	if err != nil || allowsBatches(config) {
		return err
	}
	if _, is := config["mirror"]; is {
		return errors.New("it is a mirror, which takes what its origin takes")
	}
	config["allow_atomic"] = json.RawMessage("true")
	request, err := json.Marshal(config)
	if err != nil {
		return err
	}
	config, err = rawConfig(ctx, "STREAM.UPDATE", name, request, ask)
	switch {
	case IsCode(err, CodeInvalidJSON): // a strict one
		return fmt.Errorf("%w: %w", ErrNoBatches, err)
	case err == nil && !allowsBatches(config):
		return ErrNoBatches
	}
	return err
}

func allowsBatches(config map[string]json.RawMessage) bool {
	return string(config["allow_atomic"]) == "true"
}

// rawConfig makes that request about a stream, and returns the settings that are answered.
func rawConfig(ctx context.Context, verb, name string, request []byte, ask func(ctx context.Context, subject string, request func(context.Context, jetstream.JetStream) error) error) (map[string]json.RawMessage, error) {
	var answer struct {
		Error  *jetstream.APIError        `json:"error"`
		Config map[string]json.RawMessage `json:"config"`
	}
	subject := jetstream.DefaultAPIPrefix + verb + "." + name
	err := ask(ctx, subject, func(ctx context.Context, js jetstream.JetStream) error {
		m, err := js.Conn().RequestWithContext(ctx, subject, request)
		if err != nil {
			return err
		}
		answer.Error, answer.Config = nil, nil
		if err := json.Unmarshal(m.Data, &answer); err != nil {
			return fmt.Errorf("answer of the server: %w", err)
		}
		if answer.Error != nil {
			return answer.Error
		}
		return nil
	})
	if err == nil && answer.Config == nil {
		err = errors.New("answer of the server: neither settings nor an error")
	}
	return answer.Config, err
}
