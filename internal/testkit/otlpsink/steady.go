package otlpsink

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// unsteady is text that differs from run to run, in the order in which it is
// replaced by "*".
var unsteady = []*regexp.Regexp{
	regexp.MustCompile(`\b\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:?\d{2})?`),
	regexp.MustCompile(`\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b`),
	regexp.MustCompile(`\b0x[0-9a-fA-F]+\b`),
	regexp.MustCompile(`\b[0-9a-f]{16,}\b`), // ids of traces, spans, objects
	regexp.MustCompile(`\b(\d+(\.\d+)?(ns|µs|μs|us|ms|s|m|h))+(\b|$)`),
}

var (
	// port is a number behind the host that it belongs to.
	port = regexp.MustCompile(`(127\.0\.0\.1|localhost|\[::1?\]):\d{1,5}\b`)
	// ephemeral is where Linux and others take ports from that are asked for as 0.
	ephemeral = regexp.MustCompile(`\b(3276[89]|327[7-9]\d|32[89]\d\d|3[3-9]\d{3}|[45]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])\b`)
)

// steady is text with "*" in the place of what differs from run to run.
func steady(text string) string {
	for _, u := range unsteady {
		text = u.ReplaceAllString(text, "*")
	}
	text = port.ReplaceAllString(text, "$1:*")
	return ephemeral.ReplaceAllString(text, "*")
}

// quoted is text as it stands behind "=": quoted when it could be misread.
func quoted(text string) string {
	if text == "" || strings.ContainsAny(text, " \t\r\n\"=×") {
		return strconv.Quote(text)
	}
	return text
}

// what says how an attribute is written.
type what int

const (
	leftOut  what = iota + 1 // not at all
	asStar                   // the key and "*"
	inStacks                 // not at all, for it has lines and files
)

var volatileEvent = map[string]what{"exception.stacktrace": inStacks}

var volatileLog = map[string]what{
	"exception.stacktrace": inStacks, "code.stacktrace": inStacks,
	"code.file.path": leftOut, "code.line.number": leftOut, "code.function.name": leftOut,
	"time": asStar, "ts": asStar, "timestamp": asStar,
	"duration": asStar, "duration_ms": asStar, "elapsed": asStar, "latency": asStar, "took": asStar,
}

var volatileMetric = map[string]what{
	"server.port": asStar, "server.address": asStar, "client.address": asStar,
	"network.peer.address": asStar, "network.peer.port": asStar,
	"network.protocol.version": leftOut,
}

// attributes writes m sorted by key, each with a space before it.
func attributes(m pcommon.Map, volatile map[string]what) string {
	var all []string
	for key, v := range m.All() {
		switch volatile[key] {
		case leftOut, inStacks:
		case asStar:
			all = append(all, " "+key+"=*")
		default:
			all = append(all, attribute(key, v))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "")
}

func attribute(key string, v pcommon.Value) string {
	return " " + key + "=" + quoted(steady(v.AsString()))
}
