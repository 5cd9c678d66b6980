package token

import "github.com/hybridtoken/hybridtoken/token/internal/shape"

// floorMilli converts a JSON number of seconds to milliseconds, rounding down. It
// computes in decimal: the nearest float64 to 1700000000.123 lies below it, and a
// token must not seem issued a millisecond before it was. It reports false for
// more than maxSeconds. The number must be valid JSON.
func floorMilli[T string | []byte](number T) (ms int64, ok bool) {
	negative := false
	if number[0] == '-' {
		negative, number = true, number[1:]
	}
	point, exponent, ok := scanNumber(number)
	if !ok {
		return 0, false
	}
	// The value is 0.d₁d₂d₃… × 10^(point + exponent): the digits before shift are
	// whole milliseconds, those after are dropped.
	shift := point + exponent + 3
	var n, seen int64
	rest := false
	for i := range len(number) {
		c := number[i]
		if c == 'e' || c == 'E' {
			break
		}
		if c == '.' {
			continue
		}
		if seen < shift {
			n = n*10 + int64(c-'0')
			if n > shape.MaxSeconds*1000 {
				return 0, false
			}
		} else if c != '0' {
			rest = true
		}
		seen++
	}
	for ; seen < shift && n != 0; seen++ {
		if n *= 10; n > shape.MaxSeconds*1000 {
			return 0, false
		}
	}
	if negative {
		n = -n
		if rest {
			n--
		}
	}
	return n, true
}

// scanNumber returns the number of digits before the decimal point, and the
// exponent. An exponent that no date could have is reported as false.
func scanNumber[T string | []byte](number T) (point, exponent int64, ok bool) {
	i := 0
	for i < len(number) && number[i] >= '0' && number[i] <= '9' {
		i++
	}
	point = int64(i)
	for i < len(number) && number[i] != 'e' && number[i] != 'E' {
		i++
	}
	if i == len(number) {
		return point, 0, true
	}
	i++
	sign := int64(1)
	switch number[i] {
	case '-':
		sign = -1
		i++
	case '+':
		i++
	}
	for ; i < len(number); i++ {
		if exponent = exponent*10 + int64(number[i]-'0'); exponent > shape.MaxTokenBytes {
			return 0, 0, false
		}
	}
	return point, sign * exponent, true
}
