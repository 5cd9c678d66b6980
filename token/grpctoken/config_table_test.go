package grpctoken_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/grpctoken"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

// Every field has values that cannot be meant, which are refused with an error that names
// it, or takes any; a new field without a row fails.
func TestEveryFieldOfConfig(t *testing.T) {
	auth := tokentest.New(t)
	type methods = map[string][]token.VerifyOption
	rows := map[string]struct {
		bad  []any
		good any // nil: any value is meant
	}{
		"Verifier": {[]any{(grpctoken.Verifier)(nil), (*token.Verifier)(nil)}, auth.Verifier},
		"Methods": {[]any{
			methods{"": nil}, methods{"Cancel": nil}, methods{"/shop.Orders/": nil}, methods{"shop.Orders/Cancel": nil}, methods{"/shop.Orders/*": nil},
			methods{"/a.B/C": nil, "/a.B/c": nil}, methods{"/a.B/C": {token.RequireScope()}}, methods{"/a.B/C": {token.RequireScope("a b")}}, methods{"/a.B/C": {token.RequireFresh(0)}},
		}, methods{"/shop.Orders/Cancel": {token.RequireScope("orders:write")}}},
		"Public": {[]any{[]string{""}, []string{"/grpc.health.v1.Health"}, []string{"/*/*"}, []string{"/a.B/C", "/a.b/C"}}, []string{"/grpc.health.v1.Health/Check"}},
		"Logger": {},
	}
	structure := reflect.TypeFor[grpctoken.Config]()
	for n := range structure.NumField() {
		field := structure.Field(n)
		x, ok := rows[field.Name]
		if !ok {
			t.Errorf("%s has no row", field.Name)
		}
		with := func(value any) error {
			cfg := grpctoken.Config{Verifier: auth.Verifier}
			if at := reflect.ValueOf(&cfg).Elem().Field(n); value == nil {
				at.SetZero()
			} else {
				at.Set(reflect.ValueOf(value))
			}
			_, err := grpctoken.New(cfg)
			return err
		}
		for _, value := range x.bad {
			var bad *token.ConfigError
			if err := with(value); !errors.As(err, &bad) || bad.Config != "grpctoken.Config" || bad.Field != field.Name || !strings.HasPrefix(err.Error(), "grpctoken: Config."+field.Name+" ") {
				t.Errorf("%s = %v: error %v", field.Name, value, err)
			}
		}
		if x.good != nil {
			if err := with(x.good); err != nil {
				t.Errorf("%s = %v, which is good: %v", field.Name, x.good, err)
			}
		}
	}
	if len(rows) != structure.NumField() {
		t.Errorf("%d rows of %d fields", len(rows), structure.NumField())
	}
}
