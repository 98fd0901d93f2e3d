/*
 * parts.pml - one message with two recipients that was acknowledged: node 0
 * owns it, node 1 holds it. R0 can be delivered, R1 is refused for good, which
 * takes a notice: a new message that must be safe before R1 is final (R5, D-g).
 * README.md says what is checked. Accepting and cases of the disk that
 * shadow.pml covers are left out.
 */
#ifndef MAXCRASH
#define MAXCRASH 2
#endif
#ifndef MAXDISK
#define MAXDISK 1
#endif
#ifndef MAXDROP
#define MAXDROP 2
#endif

#define R0	1
#define R1	2

mtype = { NONE, OWN, HELD };

/* On disk. */
mtype rec[2] = NONE;
byte pend[2], gen[2], sid[2], osid[2];	/* pend: recipients not yet final */
bool gone[2];				/* the message is known to be finished */
byte notice[2];				/* the notice node i made: who has it, as bits */

/* In memory. */
bool up[2] = true, rdy[2] = true, link = true;
bool todo[2];				/* the peer must still be asked */
byte flight[2];				/* the recipient that is being worked on */
bool made[2], safe[2];			/* flight is R1: how far the notice is */

/* What only the checker knows. */
bool copied[2], delivered, told, alone;
byte credit[2], crashes, disks, drops;

#define REACH		(up[0] && up[1] && link)
#define BIT(n)		(1 << (n))
/* m beats n as an owner */
#define BEATS(n, m)	(gen[m] > gen[n] || (gen[m] == gen[n] && m < n))
#define PENDING(r)	((rec[0] != NONE && (pend[0] & r)) || (rec[1] != NONE && (pend[1] & r)))

inline no_loss()
{
	assert(delivered || PENDING(R0));				/* I1, R0 */
	assert(told || alone || PENDING(R1) || notice[0] || notice[1])	/* I1, R1; I13 */
}

inline give(C) { credit[C] = (credit[C] < 3 -> credit[C] + 1 : 3) }

inline copy(D)
{
	assert(!copied[D] || credit[D] > 0);				/* I5 */
	if :: copied[D] -> credit[D] = credit[D] - 1 :: else fi;
	copied[D] = true
}

inline forget(Z)
{
	rec[Z] = NONE; pend[Z] = 0; gen[Z] = 0; osid[Z] = 0; flight[Z] = 0;
	made[Z] = false; safe[Z] = false; todo[Z] = false; rdy[Z] = true
}

inline take_over(T)
{
	rec[T] = OWN; gen[T] = gen[T] + 1; osid[T] = 0; todo[T] = true; rdy[T] = false
}

/* X hands it to Y: both keep only what neither has finished. */
inline cede(X, Y)
{
#ifndef NO_MERGE
	pend[Y] = pend[X] & pend[Y];
#endif
	rec[X] = HELD; pend[X] = pend[Y]; gen[X] = gen[Y]; osid[X] = sid[Y];
	todo[X] = false; rdy[X] = true
}

inline cede_new(X2, Y2)
{
	pend[X2] = pend[Y2]; gen[X2] = gen[Y2]; osid[X2] = sid[Y2]
}

/* What Y has finished or may be doing, and X cannot hear of. */
inline unheard(X, Y)
{
	if :: (pend[X] & R0) && (!(pend[Y] & R0) || rec[Y] == OWN) -> give(0) :: else fi;
	if :: (pend[X] & R1) && (!(pend[Y] & R1) || rec[Y] == OWN) -> give(1) :: else fi
}

proctype Node(byte n; byte m)
{
end:	do
	/* R0: delivered, then marked on disk. */
	:: d_step { rec[n] == OWN && up[n] && rdy[n] && flight[n] == 0 && (pend[n] & R0) ->
		flight[n] = R0; copy(0) }
	:: d_step { flight[n] == R0 ->
		flight[n] = 0; pend[n] = pend[n] & ~R0; delivered = true }
	/* R1: the notice is a message of its own; then R1 is final. */
	:: d_step { rec[n] == OWN && up[n] && rdy[n] && flight[n] == 0 && (pend[n] & R1) ->
		flight[n] = R1; made[n] = false; safe[n] = false;
#ifdef DSN_AFTER_FINAL
		pend[n] = pend[n] & ~R1; no_loss()
#endif
	  }
	:: d_step { flight[n] == R1 && !made[n] ->
		copy(1); made[n] = true; notice[n] = BIT(n) }
#ifdef DSN_LOCAL
	:: d_step { flight[n] == R1 && made[n] && !safe[n] -> safe[n] = true }
#endif
	:: d_step { flight[n] == R1 && made[n] && !safe[n] && REACH ->
		notice[n] = notice[n] | BIT(m); safe[n] = true }
	:: d_step { flight[n] == R1 && made[n] && !safe[n] && !REACH ->
		alone = true; safe[n] = true }				/* prefer */
	:: d_step { flight[n] == R1 && safe[n] ->
		flight[n] = 0; pend[n] = pend[n] & ~R1; no_loss() }
	/* All are final (R5). */
	:: d_step { rec[n] == OWN && up[n] && flight[n] == 0 && pend[n] == 0 ->
		forget(n); gone[n] = true; no_loss() }
	/* The notices go the way of every message: whoever has one delivers it. */
	:: d_step { up[n] && ((notice[0] | notice[1]) & BIT(n)) && !told ->
		told = true }

	/* DONE, the whole or a part (R6). It may be lost. */
	:: d_step { rec[n] == OWN && REACH && rec[m] == HELD && pend[m] & ~pend[n] ->
		pend[m] = pend[m] & pend[n]; no_loss() }
	:: d_step { gone[n] && REACH && rec[m] != NONE && flight[m] == 0 ->
		forget(m); gone[m] = true; no_loss() }
	/* STATUS and silence (R7, R8). */
	:: d_step { rec[n] == HELD && REACH && !gone[m] &&
		    (sid[m] != osid[n] || rec[m] == NONE) ->
		take_over(n) }
	:: d_step { rec[n] == HELD && up[n] && !REACH -> take_over(n) }
	/* Start barrier and CLAIM. */
	:: d_step { rec[n] == OWN && up[n] && todo[n] && !REACH ->
		if :: !rdy[n] -> unheard(n, m) :: else fi;
		todo[n] = false; rdy[n] = true }
	:: d_step { rec[n] == OWN && todo[n] && REACH && flight[n] == 0 &&
		    !gone[m] && !(rec[m] == OWN && flight[m] != 0) ->
		todo[n] = false; rdy[n] = true;
		if
		:: rec[m] == OWN && BEATS(n, m) -> cede(n, m)
		:: rec[m] == OWN && !BEATS(n, m) -> cede(m, n)
		:: rec[m] == HELD -> gen[n] = (gen[m] > gen[n] -> gen[m] : gen[n]); cede(m, n)
		:: rec[m] == NONE -> rec[m] = HELD; cede_new(m, n)	/* STORE */
		fi;
		no_loss() }
	od
}

inline crash(K)
{
	up[K] = false; link = false;
	if :: flight[K] == R0 -> give(0) :: flight[K] == R1 && made[K] -> give(1) :: else fi;
	flight[K] = 0; made[K] = false; safe[K] = false; todo[K] = false; rdy[K] = false
}

inline start(U) { up[U] = true; todo[U] = rec[U] == OWN; rdy[U] = !todo[U] }

/* With nothing left that could break, faults are not tried. */
#define AT_WORK		(rec[0] != NONE || rec[1] != NONE)

proctype Fault(byte n; byte m)
{
end:	do
	:: d_step { AT_WORK && up[n] && crashes < MAXCRASH -> crashes++; crash(n) }
	:: d_step { !up[n] -> start(n) }
	:: d_step { AT_WORK && disks < MAXDISK ->
		disks++; unheard(m, n); crash(n); forget(n); gone[n] = false;
		sid[n] = sid[n] + 1;
		notice[0] = notice[0] & ~BIT(n); notice[1] = notice[1] & ~BIT(n);
		start(n); no_loss() }
	od
}

proctype Wire()
{
end:	do
	:: d_step { AT_WORK && link && drops < MAXDROP -> drops++; link = false }
	:: d_step { !link && up[0] && up[1] ->
		link = true;
		todo[0] = todo[0] || (rec[0] == OWN && gen[0] > 1);
		todo[1] = todo[1] || (rec[1] == OWN && gen[1] > 1) }
	od
}

/* No fault is left to try: then all is done and nobody keeps anything. */
proctype Calm()
{
end:	timeout ->
	assert(rec[0] == NONE && rec[1] == NONE && delivered && (told || alone))
}

init {
	atomic {
		rec[0] = OWN; pend[0] = R0 | R1; gen[0] = 1;
		rec[1] = HELD; pend[1] = R0 | R1; gen[1] = 1;
		run Node(0, 1); run Node(1, 0); run Fault(0, 1); run Fault(1, 0);
		run Wire(); run Calm()
	}
}
