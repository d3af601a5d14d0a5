//go:build guanlan_woven

package mongo

import (
	"context"
	"strconv"
	"strings"
	"sync"

	"github.com/guanlan-io/guanlan/sdk"
)

// guanlanMonitor tells of the commands of a client, and lets the program's own
// monitor know of them, too.
func guanlanMonitor(theirs *guanlanCommandMonitor) *guanlanCommandMonitor {
	var calls sync.Map // of guanlanCallKey: each that starts succeeds or fails
	end := func(e *guanlanFinished, err error) {
		if call, ok := calls.LoadAndDelete(guanlanCallKey{e.ConnectionID, e.RequestID}); ok {
			call.(*sdk.DatabaseCall).End(err)
		}
	}
	m := &guanlanCommandMonitor{}
	// Theirs is within ours: what it starts has ours as its parent, or joins it.
	m.Started = func(ctx context.Context, e *guanlanStarted) {
		if e.CommandName != "endSessions" { // the driver's own, when it disconnects
			server, _, _ := strings.Cut(e.ConnectionID, "[")
			db := sdk.SQL{System: "mongodb", Server: server, Namespace: e.DatabaseName}.Database()
			call := db.Do(ctx, e.CommandName, guanlanCollection(e))
			calls.Store(guanlanCallKey{e.ConnectionID, e.RequestID}, call)
			ctx = call.Ctx()
		}
		if theirs != nil && theirs.Started != nil {
			theirs.Started(ctx, e)
		}
	}
	m.Succeeded = func(ctx context.Context, e *guanlanSucceeded) {
		var err error
		// A write that failed in parts is answered like one that did not.
		if failed, ok := e.Reply.Lookup("writeErrors", "0").DocumentOK(); ok {
			code, _ := failed.Lookup("code").AsInt64OK()
			text, _ := failed.Lookup("errmsg").StringValueOK()
			err = &guanlanError{strconv.FormatInt(code, 10), text}
		}
		defer end(&e.CommandFinishedEvent, err)
		if theirs != nil && theirs.Succeeded != nil {
			theirs.Succeeded(ctx, e)
		}
	}
	m.Failed = func(ctx context.Context, e *guanlanFailed) {
		defer end(&e.CommandFinishedEvent, guanlanFailure(e))
		if theirs != nil && theirs.Failed != nil {
			theirs.Failed(ctx, e)
		}
	}
	return m
}

// guanlanCallKey is what a command is known by.
type guanlanCallKey struct {
	connection string
	request    int64
}

// guanlanCollection is what a command is about; empty where that is the database or
// the server, and of commands that nobody knows.
func guanlanCollection(e *guanlanStarted) string {
	key := e.CommandName
	switch key {
	case "getMore":
		key = "collection"
	case "aggregate", "collMod", "count", "create", "createIndexes", "delete", "distinct", "drop", "dropIndexes", "find", "findAndModify",
		"insert", "killCursors", "listIndexes", "mapReduce", "update":
	default:
		return ""
	}
	name, _ := e.Command.Lookup(key).StringValueOK()
	return name
}

// guanlanError is what MongoDB answered.
type guanlanError struct{ code, text string }

func (e *guanlanError) Error() string { return e.text }

// SQLState is what package sdk asks for the code of an error.
func (e *guanlanError) SQLState() string { return e.code }
