package strictjson

import "strings"

// What is here walks over text that the library has found to be valid, and judges
// nothing: every quote and bracket has its partner.

// A walk is over the members of an object.
type walk struct {
	text  string
	i     int // where the next member begins, or the closing bracket
	name  string
	value Value
}

// members walks over the object that text is, white space around it aside.
func members(text string) walk {
	return walk{text: text, i: skipSpace(text, skipSpace(text, 0)+1)}
}

// next goes on to the next member and reports whether there is one.
func (w *walk) next() bool {
	if w.text[w.i] == '}' {
		return false
	}
	end := endOfString(w.text, w.i)
	w.name = unquote(w.text[w.i:end])
	start := skipSpace(w.text, skipSpace(w.text, end)+1) // past the colon
	end = endOfValue(w.text, start)
	w.value = Value{w.text[start:end]}
	w.i = skipComma(w.text, end)
	return true
}

// skipSpace returns the index of the first byte at or after i that is no white space.
func skipSpace(text string, i int) int {
	for i < len(text) && text[i] <= ' ' { // in valid text no other byte is as small
		i++
	}
	return i
}

// skipComma returns where the next member or element begins, or the closing bracket,
// after one that ended at i.
func skipComma(text string, i int) int {
	if i = skipSpace(text, i); text[i] == ',' {
		i = skipSpace(text, i+1)
	}
	return i
}

// endOfString returns the index after the string that begins at i.
func endOfString(text string, i int) int {
	for i++; ; i++ {
		i += strings.IndexByte(text[i:], '"')
		escapes := 0
		for text[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return i + 1
		}
	}
}

// endOfValue returns the index after the value that begins at i.
func endOfValue(text string, i int) int {
	switch text[i] {
	case '"':
		return endOfString(text, i)
	case '{', '[':
		for depth := 0; ; {
			switch text[i] {
			case '"':
				i = endOfString(text, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
	}
	for i < len(text) && text[i] > ' ' && text[i] != ',' && text[i] != '}' && text[i] != ']' {
		i++
	}
	return i
}
