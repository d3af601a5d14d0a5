//go:build guanlan_woven

package mongo

import (
	"errors"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
)

// What the versions call differently.
type (
	guanlanCommandMonitor = event.CommandMonitor
	guanlanStarted        = event.CommandStartedEvent
	guanlanFinished       = event.CommandFinishedEvent
	guanlanSucceeded      = event.CommandSucceededEvent
	guanlanFailed         = event.CommandFailedEvent
)

// guanlanFailure is what a command failed of.
func guanlanFailure(e *guanlanFailed) error {
	var de driver.Error
	if errors.As(e.Failure, &de) && de.Code != 0 {
		return &guanlanError{strconv.Itoa(int(de.Code)), de.Message}
	}
	return e.Failure
}
