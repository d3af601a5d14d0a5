package query

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// units of durations, longest spelling first where one is a prefix of another.
var units = []struct {
	name string
	size time.Duration
}{
	{"ns", time.Nanosecond},
	{"us", time.Microsecond},
	{"µs", time.Microsecond}, // U+00B5
	{"μs", time.Microsecond}, // U+03BC
	{"ms", time.Millisecond},
	{"s", time.Second},
	{"m", time.Minute},
	{"h", time.Hour},
	{"d", 24 * time.Hour},
	{"w", 7 * 24 * time.Hour},
}

// ParseDuration reads a duration such as 200ms, 1.5s, 1h30m, 7d or 2w.
// Unlike time.ParseDuration it knows days (of 24 hours) and weeks and takes
// no sign.
func ParseDuration(s string) (time.Duration, error) {
	bad := func(why string) (time.Duration, error) {
		return 0, fmt.Errorf("duration %q: %s", s, why)
	}
	var sum time.Duration
	rest := s
	for first := true; first || rest != ""; first = false {
		n := 0
		for n < len(rest) && (rest[n] >= '0' && rest[n] <= '9' || rest[n] == '.') {
			n++
		}
		if n == 0 {
			return bad("want a number and a unit, as in 200ms or 1h30m")
		}
		digits := rest[:n]
		rest = rest[n:]
		unit := time.Duration(0)
		for _, u := range units {
			if after, ok := strings.CutPrefix(rest, u.name); ok {
				unit, rest = u.size, after
				break
			}
		}
		if unit == 0 {
			return bad("want a unit: ns, us, ms, s, m, h, d or w")
		}
		part, err := scale(digits, unit)
		if err != nil {
			return bad(err.Error())
		}
		if sum > math.MaxInt64-part {
			return bad("too long")
		}
		sum += part
	}
	return sum, nil
}

// scale multiplies a decimal number with a unit, exactly where it is whole.
func scale(digits string, unit time.Duration) (time.Duration, error) {
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
		if n > math.MaxInt64/int64(unit) {
			return 0, fmt.Errorf("too long")
		}
		return time.Duration(n) * unit, nil
	}
	f, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", digits)
	}
	// 2^63 itself does not fit in an int64.
	if f *= float64(unit); f >= math.MaxInt64 {
		return 0, fmt.Errorf("too long")
	}
	return time.Duration(math.Round(f)), nil
}
