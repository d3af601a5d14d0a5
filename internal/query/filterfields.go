package query

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// valueKind is a field whose values are known.
type valueKind struct {
	read    func(string) (string, error) // to the form that the store compares
	ordered bool
	// packed values are kept as numbers, in which no expression finds text.
	packed  bool
	example string
}

const (
	traceIDExample = "for example trace_id = 4bf92f3577b34da6a3ce929d0e0e4736, all 32 digits"
	spanIDExample  = "for example span_id = 00f067aa0ba902b7, all 16 digits"
	parentExample  = "for example parent_span_id = 00f067aa0ba902b7, all 16 digits"
)

var special = map[Signal]map[string]valueKind{
	Traces: {
		"duration":       {read: nanos, ordered: true, packed: true, example: "for example duration > 200ms"},
		"status":         {read: oneOf("unset", "ok", "error"), example: "for example status = error"},
		"kind":           {read: oneOf("internal", "server", "client", "producer", "consumer", "unspecified"), example: "for example kind = server"},
		"root":           {read: oneOf("true", "false"), example: "for example root = true"},
		"trace_id":       {read: hexDigits(32), packed: true, example: traceIDExample},
		"span_id":        {read: hexDigits(16), packed: true, example: spanIDExample},
		"parent_span_id": {read: hexDigits(16), packed: true, example: parentExample},
	},
	Network: {
		"health":      {read: oneOf("ok", "warning", "bad"), example: "for example health = bad"},
		"role":        {read: oneOf("client", "server", "unknown"), example: "for example role = client"},
		"rtt_p50":     {read: nanos, ordered: true, packed: true, example: "for example rtt_p50 > 20ms"},
		"rtt_p99":     {read: nanos, ordered: true, packed: true, example: "for example rtt_p99 > 200ms"},
		"connect_p99": {read: nanos, ordered: true, packed: true, example: "for example connect_p99 > 100ms"},
	},
	Logs: {
		"severity": {read: oneOf("trace", "debug", "info", "warn", "error", "fatal", "unset"), ordered: true, example: "for example severity >= warn"},
		"trace_id": {read: hexDigits(32), example: traceIDExample},
		"span_id":  {read: hexDigits(16), example: spanIDExample},
	},
	Profiles: {
		"trace_id": {read: hexDigits(32), example: traceIDExample},
		"span_id":  {read: hexDigits(16), example: spanIDExample},
	},
}

func oneOf(names ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if l := strings.ToLower(s); slices.Contains(names, l) {
			return l, nil
		}
		return "", fmt.Errorf("want one of %s, not %q", strings.Join(names, ", "), s)
	}
}

// hexDigits reads an id. Empty stands for its absence.
func hexDigits(n int) func(string) (string, error) {
	return func(s string) (string, error) {
		l := strings.ToLower(s)
		if l != "" && len(l) != n || strings.Trim(l, "0123456789abcdef") != "" {
			return "", fmt.Errorf("want %d hexadecimal digits, not %q", n, s)
		}
		return l, nil
	}
}

func nanos(s string) (string, error) {
	d, err := ParseDuration(s)
	if err != nil {
		return "", err
	}
	return strconv.FormatInt(int64(d), 10), nil
}

// formatNanos writes decimal nanoseconds with the largest unit that keeps them
// whole; other text stays as it is.
func formatNanos(s string) string {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return s
	}
	unit, name := time.Nanosecond, "ns"
	for _, u := range units {
		// Days and weeks read less well than hours.
		if n > 0 && n%int64(u.size) == 0 && u.size > unit && u.size <= time.Hour {
			unit, name = u.size, u.name
		}
	}
	return strconv.FormatInt(n/int64(unit), 10) + name
}
