package token

import (
	"reflect"
	"testing"
)

// A Profile with any field set is none of those of RFC 9068: each field counts, also one that is
// added later.
func TestProfileIsZero(t *testing.T) {
	if p := new(Profile); !p.isZero() {
		t.Error("the zero value is not zero")
	}
	typ := reflect.TypeFor[Profile]()
	for i := range typ.NumField() {
		p := new(Profile)
		switch f := reflect.ValueOf(p).Elem().Field(i); f.Kind() {
		case reflect.String:
			f.SetString("x")
		case reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		case reflect.Map:
			f.Set(reflect.MakeMap(f.Type()))
			f.SetMapIndex(reflect.Zero(f.Type().Key()), reflect.Zero(f.Type().Elem()))
		case reflect.Func:
			f.Set(reflect.MakeFunc(f.Type(), func([]reflect.Value) []reflect.Value { return nil }))
		default:
			t.Fatalf("field %s is a %s: what is it set to here?", typ.Field(i).Name, f.Kind())
		}
		if p.isZero() {
			t.Errorf("with %s set it is zero", typ.Field(i).Name)
		}
	}
}
