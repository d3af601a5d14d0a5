package api

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/guanlan-io/guanlan/internal/query"
)

// defaultWindow is how far back a question looks that names no start.
const defaultWindow = time.Hour

const momentExample = "write 2026-01-02T15:04:05Z, 1767366245 (Unix s, ms, µs or ns) or now-15m"

// parseMoment reads a time in any of the forms that the API takes.
func parseMoment(s string, now time.Time) (time.Time, error) {
	if rest, ok := strings.CutPrefix(s, "now"); ok {
		// A plus sign arrives as a space where the client did not escape it.
		rest = strings.Replace(rest, " ", "+", 1)
		if rest == "" {
			return now, nil
		}
		if rest[0] != '-' && rest[0] != '+' {
			return time.Time{}, errors.New("want + or - after now")
		}
		d, err := query.ParseDuration(rest[1:])
		if err != nil {
			return time.Time{}, err
		}
		if rest[0] == '-' {
			d = -d
		}
		t := now.Add(d)
		return t, check(t)
	}
	if t, err := time.Parse(time.RFC3339Nano, strings.Replace(s, " ", "+", 1)); err == nil {
		return t, check(t)
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		t := fromUnix(n)
		return t, check(t)
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && f > -1e11 && f < 1e11 {
		seconds, rest := math.Modf(f)
		t := time.Unix(int64(seconds), int64(math.Round(rest*1e9))).UTC()
		return t, check(t)
	}
	return time.Time{}, errors.New("not a time")
}

// fromUnix tells the unit of a Unix time by its size: as seconds, 1e11 is the
// year 5138; each finer unit is a thousand times that.
func fromUnix(n int64) time.Time {
	size := max(n, -n)
	switch {
	case size < 1e11:
		return time.Unix(n, 0).UTC()
	case size < 1e14:
		return time.UnixMilli(n).UTC()
	case size < 1e17:
		return time.UnixMicro(n).UTC()
	}
	return time.Unix(0, n).UTC()
}

// check refuses times that do not fit in Unix nanoseconds, in which the
// store keeps them.
func check(t time.Time) error {
	if y := t.Year(); y < 1678 || y > 2261 {
		return fmt.Errorf("year %d is out of range", y)
	}
	return nil
}

// moment reads one time parameter; the zero time stands for an absent one.
func moment(name, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := parseMoment(s, now)
	if err != nil {
		return time.Time{}, &query.FieldError{Field: name, Value: s, Msg: err.Error(), Next: momentExample}
	}
	return t, nil
}

// between reads a pair of times and fills in the defaults.
func between(start, end string, now time.Time) (from, to time.Time, err error) {
	if to, err = moment("end", end, now); err != nil {
		return
	}
	if to.IsZero() {
		to = now
	}
	if from, err = moment("start", start, now); err != nil {
		return
	}
	if from.IsZero() {
		from = to.Add(-defaultWindow)
	}
	if !from.Before(to) {
		err = &query.FieldError{Field: "start", Value: start, Msg: "not before end", Next: "start is inclusive, end exclusive; both default to the last hour"}
	}
	return
}
