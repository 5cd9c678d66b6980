package strictjson

import (
	"bytes"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// maxSalvageDepth bounds the nesting of what [Salvage] reads.
const maxSalvageDepth = 1000

// Salvage is [Object] for documents of which a part may be unusable and the rest counts
// all the same. It also accepts names that are there twice, text that is not valid UTF-8,
// nesting to 1,000 and a byte order mark. sound tells whether the value is strict JSON by
// itself. What to do with a name that comes again is the caller's to decide.
func Salvage(data []byte, member func(name string, v Value, sound bool)) error {
	strict := valid(data)
	if !strict {
		data = bytes.TrimPrefix(data, []byte("\ufeff"))
		switch {
		case tooDeep(data, maxSalvageDepth):
			return fmt.Errorf("%w: nested too deeply", ErrSyntax)
		case jsontext.Value(data).Kind() != '{' || !jsontext.Value(data).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)):
			return fmt.Errorf("%w: not one object", ErrSyntax)
		}
	}
	for it := members(string(data)); it.next(); {
		member(it.name, it.value, strict || jsontext.Value(it.value.raw).IsValid())
	}
	return nil
}
