package node

// guardState is what the guard does with the watchdog.
type guardState string

const (
	guardOff   guardState = "off"   // no watchdog is open
	guardTrial guardState = "trial" // fed until a time: a trial's end
	guardHeld  guardState = "held"  // fed as long as the service lives: a restart is to come
	guardKept  guardState = "kept"  // fed as long as the service lives, for it cannot be stopped, or is not to be
	guardLast  guardState = "last"  // fed a last time: the restart has begun
	// fed no more, and nothing takes that back: the trial's end, or the restart that it ends in
	guardDoomed guardState = "doomed"
	guardClosed guardState = "closed" // the service ends
)

// guardEvent is what happens to the guard.
type guardEvent string

const (
	guardTry     guardEvent = "try"     // this boot is a trial, or may be one, until a time
	guardHold    guardEvent = "hold"    // from here on nobody may be able to log in; a trial's end stays what it is
	guardStage   guardEvent = "stage"   // this is no trial, and a restart is to come
	guardRelease guardEvent = "release" // the restart does not come
	guardHurry   guardEvent = "hurry"   // the trial is given up: its end comes forward to a time
	guardDisarm  guardEvent = "disarm"  // this boot is no trial, or none any more
	guardRestart guardEvent = "restart" // the restart begins
	guardLeave   guardEvent = "leave"   // a kernel is started that may not know of a watchdog
	guardTimeUp  guardEvent = "time up" // the trial's end has come
	guardClose   guardEvent = "close"   // the service ends: what is armed for a trial or a restart counts on
)

// guardAction is what the guard does on an event.
type guardAction string

const (
	doNothing    guardAction = ""
	doBegin      guardAction = "begin" // open it if it is off, and feed it; until the event's time, if it has one
	doBeginLast  guardAction = "begin, last"
	doLast       guardAction = "last"        // give the restart its time, and feed no more
	doAbandon    guardAction = "abandon"     // leave it to count on without the service
	doHurry      guardAction = "hurry"       // bring the end of the feeding forward
	doStop       guardAction = "stop"        // stop it, unless it is to stay
	doStopAnyhow guardAction = "stop anyhow" // stop it, if it can be stopped
	doTimeUp     guardAction = "time up"     // feed no more
	doCloseDown  guardAction = "close down"  // stop it, or abandon it
	doComeBack   guardAction = "come back"   // feed again, and stop it
)

// guardStep is what an event does in a state: what is done, then the state that follows.
type guardStep struct {
	do guardAction
	to guardState
}

// guardTable has a row for each state and a step for each event. What a state does not name leaves it as it is.
var guardTable = map[guardState]map[guardEvent]guardStep{
	guardOff: {
		guardTry:     {doBegin, guardTrial},
		guardHold:    {doBegin, guardHeld},
		guardStage:   {doBegin, guardHeld},
		guardRestart: {doBeginLast, guardLast},
		guardClose:   {doAbandon, guardClosed},
	},
	guardTrial: {
		guardTry:     {doBegin, guardTrial},
		guardStage:   {doBegin, guardHeld},
		guardHurry:   {doHurry, guardTrial},
		guardDisarm:  {doStop, guardOff},
		guardRestart: {doLast, guardDoomed},
		guardLeave:   {doStopAnyhow, guardOff},
		guardTimeUp:  {doTimeUp, guardDoomed},
		guardClose:   {doAbandon, guardClosed},
	},
	guardHeld: {
		guardTry:     {doBegin, guardTrial},
		guardRelease: {doStop, guardOff},
		guardHurry:   {doBegin, guardTrial},
		guardDisarm:  {doStop, guardOff},
		guardRestart: {doLast, guardLast},
		guardLeave:   {doStopAnyhow, guardOff},
		guardClose:   {doAbandon, guardClosed},
	},
	guardKept: {
		guardTry:     {doBegin, guardTrial},
		guardHold:    {doBegin, guardHeld},
		guardStage:   {doBegin, guardHeld},
		guardRelease: {doStop, guardOff},
		guardDisarm:  {doStop, guardOff},
		guardRestart: {doLast, guardLast},
		guardLeave:   {doStopAnyhow, guardOff},
		guardClose:   {doCloseDown, guardClosed},
	},
	guardLast: {
		guardRelease: {doComeBack, guardOff},
		guardHurry:   {doNothing, guardDoomed},
		guardLeave:   {doStopAnyhow, guardOff},
		guardClose:   {doAbandon, guardClosed},
	},
	guardDoomed: {
		guardDisarm: {doNothing, guardLast},
		guardLeave:  {doStopAnyhow, guardOff},
		guardClose:  {doAbandon, guardClosed},
	},
	guardClosed: {},
}
