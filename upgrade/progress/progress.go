// Package progress is what an operation tells while it runs: its steps, and how far each has come.
//
// Start with [Event].
package progress

import "time"

// Step names one step of an operation, after the table in docs/architecture.md.
type Step string

// The steps, in the order of the table.
const (
	StepZero     Step = "zero"     // install only, where it is asked for: zeros over the whole disk
	StepLayout   Step = "layout"   // install only: partition table, empty boot file system, empty META
	StepFind     Step = "find"     // the image's first file to boot from; nothing is changed before it is there
	StepDisarm   Step = "disarm"   // whatever an earlier attempt left armed is taken back
	StepClear    Step = "clear"    // the target: the loader forgets it, its manifest goes, then its files
	StepWrite    Step = "write"    // the image's files into the target
	StepVerify   Step = "verify"   // they are read back from the device
	StepComplete Step = "complete" // the target's manifest
	StepPrepare  Step = "prepare"  // the loader learns of the target; META learns of the attempt
	StepArm      Step = "arm"      // the commit point
	StepFill     Step = "fill"     // install only: what is added to META, the boot file system and other partitions
	StepConfirm  Step = "confirm"  // the active slot becomes the default
	StepTry      Step = "try"      // firmware is told to start the new loader once
	StepLoader   Step = "loader"   // the loader itself is replaced
)

// Event tells of the progress of an operation. Each step sends one event when it begins (Done and Err are zero), any
// number with growing Bytes, and one when it is over.
type Event struct {
	Step    Step
	Done    bool          // the step is over
	Err     error         // why it failed, if it did
	File    string        // the file that Bytes speak of; empty for none
	Bytes   int64         // bytes of the file that are written, or of all files that are read back, so far
	Total   int64         // bytes of it in all; 0 if not known
	Layer   Layer         // of "write": the layer of the image that is fetched; zero where nothing is
	Whole   Amount        // of "write": packed bytes of all that is fetched; of "verify": Bytes and Total
	How     string        // of "verify": by what way the bytes come from the device and not from a cache; for people
	Elapsed time.Duration // since the step began
}

// Amount is how far something that counts bytes has come.
type Amount struct {
	Bytes int64         // so far
	Total int64         // in all; 0 if not known
	Rate  int64         // bytes a second, of late; 0 if not known yet
	Left  time.Duration // until all is done at that rate; 0 if not known
}

// Layer is a layer of the image while it is fetched.
type Layer struct {
	Number int // from 1, in the order of fetching
	Count  int // of the image's layers
	Amount     // packed bytes of what is fetched of it
}

// Observer is called as a step begins that is none of an operation's progress; the operation goes on once it returns.
type Observer func(operation string, s Step)
