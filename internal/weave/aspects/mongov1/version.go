//go:build guanlan_woven

package mongo

import (
	"context"
	"strings"

	"go.mongodb.org/mongo-driver/event"
)

// What the versions call differently.
type (
	guanlanCommandMonitor = event.CommandMonitor
	guanlanStarted        = event.CommandStartedEvent
	guanlanFinished       = event.CommandFinishedEvent
	guanlanSucceeded      = event.CommandSucceededEvent
	guanlanFailed         = event.CommandFailedEvent
)

// guanlanFailure is what a command failed of. This version has it as a text alone:
// what the server answers begins with the name of the error in parentheses.
func guanlanFailure(e *guanlanFailed) error {
	if rest, ok := strings.CutPrefix(e.Failure, "("); ok {
		if name, text, ok := strings.Cut(rest, ") "); ok && !strings.ContainsAny(name, " :.") {
			return &guanlanError{name, text}
		}
	}
	for _, known := range []error{context.Canceled, context.DeadlineExceeded} {
		if strings.Contains(e.Failure, known.Error()) {
			return known
		}
	}
	return &guanlanError{"network_error", e.Failure}
}
