package collector

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// Who sends to nobody is told once and in a while, and what was lost in sums; all else is
// logged as before.
func TestFailuresToSendAreTold(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	core, seen := observer.New(zapcore.WarnLevel)
	core = newSendLog(core, func() time.Time { return now })
	log := zap.New(core, zap.AddStacktrace(zapcore.ErrorLevel))
	of := func(signal string) *zap.Logger {
		return log.With(zap.String("otelcol.component.id", "otlp_http"), zap.String("otelcol.signal", signal))
	}
	logs, metrics := of("logs"), of("metrics")
	refused, ending := errors.New("connection refused"), errors.New("interrupted due to shutdown: connection refused")
	retry := func(l *zap.Logger) { l.Info(retried+" the request after interval.", zap.Error(refused)) }
	drop := func(l *zap.Logger, err error, n int) { l.Error(dropped, zap.Error(err), zap.Int("dropped_items", n)) }
	told := func(want ...string) {
		t.Helper()
		var got []string
		for _, e := range seen.TakeAll() {
			line := e.Level.String() + " " + e.Message
			if n, ok := e.ContextMap()["dropped_items"]; ok {
				line += fmt.Sprintf(" %v %v", e.ContextMap()["otelcol.signal"], n)
			}
			if e.Stack != "" {
				line += " with a stack"
			}
			got = append(got, line)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("log (-want +got):\n%s", diff)
		}
	}
	waits, lost := "warn what is sent is not taken; it waits and is sent again", "error telemetry was dropped, as nobody took it "

	retry(logs)
	retry(metrics)
	retry(logs)
	told(waits)
	now = now.Add(sayAgain)
	retry(metrics)
	told(waits)

	drop(logs, refused, 3)
	drop(logs, refused, 4)
	drop(metrics, refused, 1)
	told(lost+"logs 3", lost+"metrics 1")
	now = now.Add(sayAgain)
	drop(logs, refused, 5)
	told(lost + "logs 9")

	drop(logs, ending, 20)
	drop(logs, ending, 30)
	told()
	core.(sendLog).all.flush()
	told(lost + "logs 50")
	core.(sendLog).all.flush()
	told()

	log.Info("some word")
	log.Error("else")
	told("error else with a stack")
}
