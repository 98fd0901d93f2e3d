/*
 * shadow.pml - one message, N nodes that hold each other's mail: P accepted
 * it, A (and B when N is 3) are its peers. Everything may crash, one disk may
 * be lost or be an old copy, links come and go, a STORE may arrive late.
 * README.md says which rule is where, what is checked and what is left out.
 */
#ifndef N
#define N 2
#endif
#ifndef MAXCRASH
#define MAXCRASH 2
#endif
#ifndef MAXDISK
#define MAXDISK 1		/* losses and restores together */
#endif
#ifndef MAXDROP
#define MAXDROP 2		/* links that break by themselves */
#endif

#ifndef MAXGIVE
#define MAXGIVE 0		/* messages given to a peer (R17) */
#endif

#define P		0
#define BIT(m)		(1 << (m))
#define OTHERS(n)	(((1 << N) - 1) & ~BIT(n))
#define LINK(a, b)	((a) + (b) - 1)		/* between a and b */
#define WAY(a, b)	((a) * N + (b))		/* from a to b */
#define ID(m)		(1 << (2 * (m) + sid[m]))	/* (NODE, SID) */
#define IDS(m)		(3 << (2 * (m)))	/* NODE, any SID */

mtype = { NONE, OWN, HELD };		/* the record on disk */
mtype = { NEW, RECV, PREP, OVER };	/* the client's transaction at P */

/* On disk. */
mtype rec[N] = NONE;
byte gen[N], own[N], osid[N];		/* GEN; HELD for whom, under which SID */
bool fin[N];				/* the MID is in the finished set */
byte sid[N];
bool knows;				/* P: INC known and SEQ < NEXT */
byte list;				/* P: targets, as ID() */

/* In memory. */
bool up[N] = true, rdy[N] = true, dlv[N];	/* dlv: a delivery is in flight */
byte todo[N];				/* peers that must still be asked */
byte conf[N];				/* holders that answered, as ID() */
byte tell;				/* nodes that have DONE to send, as BIT() */
mtype ph = NEW;
byte tgt = 1;				/* who is asked to hold it; 0: all failed */
bool sent;

/* On the way: a STORE (its GEN), and the answer to it (2 * GEN + SID). */
bool link[N * (N - 1) / 2] = true;
byte st[N * N], stsid[N * N], ack[N * N];
byte gv[N * N];				/* GIVE: its GEN */

/* What only the checker knows. */
bool acked, prot, aborted, dead, finished, copied, calm;
byte credit, crashes, disks, drops, gives;
byte snapof, sgen, sown, sosid, slist;
mtype srec = NONE;
bool sfin, sknows, restored;
byte stale;				/* links where the restore was not noticed yet */

#if defined(NO_IDCHECK)		/* the name of the target is enough */
#define LISTED(m)	(list & IDS(m))
#elif defined(TARGET_NOT_DURABLE)	/* further targets are in memory only */
#define LISTED(m)	(m != 1 || (list & ID(m)))
#else
#define LISTED(m)	(list & ID(m))
#endif
#define REACH(a, b)	(up[a] && up[b] && link[LINK(a, b)])
#define ORIGIN(n)	(n == P && sid[P] == 0)
#define TAKEN(n)	(n == P && (ph == RECV || ph == PREP))	/* no reply yet */
#define BUSY(n)		(dlv[n] || TAKEN(n))
#ifdef EPOCH_ONLY	/* a start counter: after a restore as high again */
#define KNOWN		true
#else
#define KNOWN		knows
#endif
#define GONE(n)		(rec[n] == NONE && !TAKEN(n) && \
			(fin[n] || (ORIGIN(n) && KNOWN && ph == OVER)))
#define HELD_BY(n, m)	(1 << (2 * m + (ack[WAY(n, m)] & 1)))
#ifdef OLD_HELD			/* an answer from before a cede still counts */
#define SAME_GEN(n, m)	true
#else
#define SAME_GEN(n, m)	((ack[WAY(n, m)] >> 1) == gen[n])
#endif
/* m takes a STORE of n with GEN g */
#define WANTS(m, n, g)	((rec[m] == NONE && !GONE(m) && !TAKEN(m)) || \
			(rec[m] == HELD && own[m] == n && (g) >= gen[m]) || \
			(rec[m] == HELD && BEATS(g, n, gen[m], own[m])))
#define MAY_STORE(n, m)	(rec[n] == OWN && !TAKEN(n) && rdy[n] && conf[n] == 0 && \
			!(todo[n] & BIT(m)) && REACH(n, m) && \
			st[WAY(n, m)] == 0 && ack[WAY(n, m)] == 0)
#if N == 2
#define ONE_STEP(n)	false
#else		/* a taker's STORE and its answer: fewer states */
#define ONE_STEP(n)	(gen[n] > 1)
#endif
/* m would have kept n from delivering, had n heard it */
#define KNOWS_BETTER(n, m)	(GONE(m) || TAKEN(m) || \
			(rec[m] == OWN && (up[m] || BEATS(gen[m], m, gen[n], n))) || \
			(rec[m] == HELD && BEATS(gen[m], own[m], gen[n], n)))
/* (g1, owner o1) goes before (g2, owner o2) */
#ifdef TIE_LAST		/* the smaller SID may be at either */
#define BEATS(g1, o1, g2, o2)	((g1) > (g2) || ((g1) == (g2) && (o1) > (o2)))
#else
#define BEATS(g1, o1, g2, o2)	((g1) > (g2) || ((g1) == (g2) && (o1) < (o2)))
#endif

#if N == 2
#define OTHER_LINKS(n)	1
#define COPIES		(rec[0] != NONE || rec[1] != NONE)
#define TAKERS_STORE	(st[WAY(0, 1)] > 1 || st[WAY(1, 0)] != 0)
#define NEVER_AGAIN	(!COPIES && link[0] && !TAKERS_STORE)
#else
#define OTHER_LINKS(n)	((n) == 0 -> 3 : ((n) == 1 -> 5 : 6))
#define COPIES		(rec[0] != NONE || rec[1] != NONE || rec[2] != NONE)
#define TAKERS_STORE	(st[WAY(0, 1)] > 1 || st[WAY(0, 2)] > 1 || \
			st[WAY(1, 0)] != 0 || st[WAY(1, 2)] != 0 || \
			st[WAY(2, 0)] != 0 || st[WAY(2, 1)] != 0)
#define NEVER_AGAIN	(!COPIES && link[0] && link[1] && !TAKERS_STORE)
#endif

inline over() { ph = OVER; tgt = 0; sent = false }

inline give_credit() { credit = (credit < 4 -> credit + 1 : 4) }

inline no_loss() { assert(!prot || finished || COPIES) }		/* I1 */

/* After 451, once P has a new link to everyone and nobody has it: for ever. */
inline judge()
{
	dead = dead || (aborted && NEVER_AGAIN)
}

inline forget(Z)
{
	rec[Z] = NONE; gen[Z] = 0; own[Z] = 0; osid[Z] = 0;
	todo[Z] = 0; conf[Z] = 0; rdy[Z] = true; dlv[Z] = false;
	if :: Z == P -> list = 0 :: else fi
}

inline mark(Y) { fin[Y] = !(ORIGIN(Y) && knows) }

inline drop_gone(Y)	/* told that it is finished */
{
	assert(finished || (!acked && !TAKEN(P)));					/* I3 */
	forget(Y); mark(Y); no_loss(); judge()
}

inline hold(H, HO, HG, HS)
{
	assert(rec[H] == NONE || HG >= gen[H]);				/* I10 */
	assert(!dead || restored);					/* I4 */
	forget(H); rec[H] = HELD; own[H] = HO; gen[H] = HG; osid[H] = HS
}

inline cede(C, CO)
{
#ifdef CEDE_DROPS
	forget(C); conf[CO] = conf[CO] & ~IDS(C)
#else
	hold(C, CO, gen[CO], sid[CO]); conf[CO] = conf[CO] | ID(C)
#endif
}

inline take_over(T)
{
	rec[T] = OWN; gen[T] = gen[T] + 1; own[T] = 0; osid[T] = 0;
	conf[T] = 0; todo[T] = OTHERS(T); rdy[T] = false
}

inline asked(Q, QM)
{
	todo[Q] = todo[Q] & ~BIT(QM); rdy[Q] = rdy[Q] || todo[Q] == 0
}

/* HELLO: neither what was sent on an older link nor its answers are read any
 * more, and "held" from before the peer's disk became an old copy is void. */
inline session(S1, S2)
{
	link[LINK(S1, S2)] = true;
	ack[WAY(S1, S2)] = 0; ack[WAY(S2, S1)] = 0;
	gv[WAY(S1, S2)] = 0; gv[WAY(S2, S1)] = 0;
#ifndef NO_FENCE
	st[WAY(S1, S2)] = 0; stsid[WAY(S1, S2)] = 0;
	st[WAY(S2, S1)] = 0; stsid[WAY(S2, S1)] = 0;
#endif
#ifndef TRUST_OLD_HELD
	if :: stale & BIT(LINK(S1, S2)) ->
		stale = stale & ~BIT(LINK(S1, S2));
		conf[S1] = conf[S1] & ~IDS(S2); conf[S2] = conf[S2] & ~IDS(S1)
	   :: else fi;
#endif
	if :: rec[S1] == OWN && gen[S1] > 1 -> todo[S1] = todo[S1] | BIT(S2) :: else fi;
	if :: rec[S2] == OWN && gen[S2] > 1 -> todo[S2] = todo[S2] | BIT(S1) :: else fi;
	judge()
}

/* What node n does alone. */
proctype Node(byte n)
{
end:	do
	/* The client: in parallel local commit and STORE, then 250 (D-b). */
	:: d_step { n == P && up[P] && ph == NEW ->
		ph = RECV; list = ID(1) }
#ifdef SEQ_GAP
	:: d_step { n == P && ph == RECV && !knows -> knows = true }
#endif
	:: d_step { n == P && ph == RECV ->
		ph = PREP; rec[P] = OWN; gen[P] = 1; knows = true }
	/* The target is silent: the link is closed, the next one is tried. */
	:: d_step { n == P && ph == PREP && tgt != 0 ->
#ifndef KEEP_LINK
		link[LINK(P, tgt)] = false;
#endif
		ack[WAY(P, tgt)] = 0; sent = false;
		tgt = (tgt + 1 < N -> tgt + 1 : 0);
#ifndef TARGET_NOT_DURABLE
		if :: tgt != 0 -> list = list | ID(tgt) :: else fi
#endif
	  }
	/* All failed. Policy require: delete, then 451 (D-a). */
#ifdef LATE_ABORT
	:: d_step { n == P && ph == PREP && tgt == 0 && !aborted -> aborted = true }
#endif
	:: d_step { n == P && ph == PREP && tgt == 0 ->
		assert(!acked);
		over(); forget(P); aborted = true; tell = tell | BIT(P); judge() }
	/* All failed. Policy prefer: one copy must do (D-h). */
	:: d_step { n == P && ph == PREP && tgt == 0 && !aborted ->
		over(); acked = true }

#ifndef STUCK
	:: d_step { up[n] && rec[n] == OWN && rdy[n] && !BUSY(n) ->
		dlv[n] = true;
		assert(!dead || restored);				/* I4 */
		assert(!(aborted && n == P && gen[P] == 1) || restored);
		assert(!copied || credit > 0);				/* I5 */
		if :: copied -> credit = credit - 1 :: else fi;
		copied = true }
	:: d_step { dlv[n] ->
		finished = true; forget(n); mark(n); tell = tell | BIT(n) }
#endif
	od
}

/* What node n does with its peer m. */
proctype Peer(byte n; byte m)
{
end:	do
	/* STORE: at first; again when no holder is known. */
	:: d_step { n == P && TAKEN(P) && tgt == m && !sent && REACH(n, m) &&
		    LISTED(m) ->
		sent = true; st[WAY(n, m)] = 1; stsid[WAY(n, m)] = sid[n] }
	:: d_step { MAY_STORE(n, m) && !ONE_STEP(n) ->
		if :: n == P && gen[P] == 1 && !LISTED(m) -> list = list | ID(m) :: else fi;
		st[WAY(n, m)] = gen[n]; stsid[WAY(n, m)] = sid[n] }
	:: d_step { MAY_STORE(n, m) && ONE_STEP(n) ->
		if
		:: WANTS(m, n, gen[n]) ->
			hold(m, n, gen[n], sid[n]); conf[n] = conf[n] | ID(m)
		:: else -> todo[n] = todo[n] | BIT(m)
		fi }

	/* m reads the STORE, also when the link is already broken. */
#ifdef ACK_BEFORE_HELD
	:: d_step { st[WAY(n, m)] != 0 && REACH(n, m) && ack[WAY(n, m)] == 0 ->
		ack[WAY(n, m)] = 2 * st[WAY(n, m)] + sid[m] }
#endif
	:: d_step { st[WAY(n, m)] != 0 && up[m] ->
		if
		:: WANTS(m, n, st[WAY(n, m)]) ->
			hold(m, n, st[WAY(n, m)], stsid[WAY(n, m)]);
			if :: REACH(n, m) -> ack[WAY(n, m)] = 2 * gen[m] + sid[m] :: else fi
		:: else ->	/* it knows better: n has to CLAIM */
			if :: REACH(n, m) && rec[n] == OWN && !TAKEN(n) ->
				todo[n] = todo[n] | BIT(m) :: else fi
		fi;
		st[WAY(n, m)] = 0; stsid[WAY(n, m)] = 0 }
	/* n reads "held". */
	:: d_step { ack[WAY(n, m)] != 0 && up[n] && !(n == P && ph == RECV) ->
		if
		:: n == P && ph == PREP && tgt == m ->
			assert(rec[P] == OWN);				/* I2 */
			acked = true; prot = true; over();
			conf[P] = HELD_BY(n, m)
		:: rec[n] == OWN && !TAKEN(n) && SAME_GEN(n, m) ->
			conf[n] = conf[n] | HELD_BY(n, m);
			prot = prot || acked
		:: else
		fi;
		ack[WAY(n, m)] = 0 }
	:: d_step { rec[n] == OWN && REACH(n, m) && (conf[n] & IDS(m) & ~ID(m)) ->
		conf[n] = conf[n] & ~(IDS(m) & ~ID(m)) }

	/* STATUS: n holds it for m (R7). */
	:: d_step { rec[n] == HELD && own[n] == m && REACH(n, m) && GONE(m) ->
		drop_gone(n) }
	:: d_step { rec[n] == HELD && own[n] == m && REACH(n, m) && !GONE(m) &&
#ifdef NO_UNKNOWN
		    false &&
#endif
		    (sid[m] != osid[n] || (rec[m] == NONE && !TAKEN(m)) ||
		     (rec[m] == OWN && gen[m] < gen[n]) ||
		     (rec[m] == HELD && own[m] != n && gen[m] < gen[n])) ->
		take_over(n) }						/* UNKNOWN */
	:: d_step { rec[n] == HELD && own[n] == m && REACH(n, m) &&
		    sid[m] == osid[n] && rec[m] == OWN && !TAKEN(m) &&
#ifndef ELSEWHERE_EARLY
		    st[WAY(m, n)] == 0 && ack[WAY(m, n)] == 0 &&
#endif
#ifndef ORIGIN_DROPS
		    !ORIGIN(n) &&
#endif
		    gen[m] >= gen[n] && (conf[m] & ~IDS(n)) ->		/* ELSEWHERE */
#ifndef ELSEWHERE_BOTH
		conf[m] = conf[m] & ~IDS(n);
#endif
		forget(n);
#ifdef ELSEWHERE_MARKS
		mark(n);
#endif
		no_loss() }
	/* m is silent for T_takeover (R8). */
	:: d_step { rec[n] == HELD && own[n] == m && up[n] && !REACH(n, m) ->
		take_over(n) }

	/* The start barrier of an owner and the CLAIM of a taker (D-d, D-e). */
	:: d_step { rec[n] == OWN && up[n] && (todo[n] & BIT(m)) && !REACH(n, m) ->
		if :: !rdy[n] && KNOWS_BETTER(n, m) -> give_credit() :: else fi;
		asked(n, m) }
	:: d_step { rec[n] == OWN && !BUSY(n) && (todo[n] & BIT(m)) && REACH(n, m) &&
		    !(rec[m] == OWN && BUSY(m) && BEATS(gen[n], n, gen[m], m)) &&
		    !(rec[m] == NONE && TAKEN(m)) ->
		asked(n, m);
		if
		:: n == P && gen[n] == 1 && !(list & ID(m)) -> skip	/* new SID */
		:: else ->
			if
			:: GONE(m) -> drop_gone(n)
			:: rec[m] == OWN && BEATS(gen[m], m, gen[n], n) -> cede(n, m)
			:: rec[m] == OWN && BEATS(gen[n], n, gen[m], m) -> cede(m, n)
			:: rec[m] == HELD && own[m] == n ->
				gen[n] = (gen[m] > gen[n] -> gen[m] : gen[n]);
				hold(m, n, gen[n], sid[n]);
				conf[n] = conf[n] | ID(m)
			:: rec[m] == HELD && own[m] != n && BEATS(gen[n], n, gen[m], own[m]) ->
				hold(m, n, gen[n], sid[n]); conf[n] = conf[n] | ID(m)
			:: rec[m] == HELD && own[m] != n && BEATS(gen[m], own[m], gen[n], n) ->
#ifdef HELD_GO
				skip
#else
				hold(n, own[m], gen[m], osid[m])
#endif
			:: rec[m] == NONE && !GONE(m) ->
#ifdef ABORT_ON_NONE
				if :: gen[n] == 1 -> forget(n); no_loss() :: else fi
#else
				skip
#endif
			fi
		fi }

	/* GIVE (R17): n writes down that m owns it, then m is told. */
	:: d_step { gives < MAXGIVE && up[n] && rec[n] == OWN && rdy[n] && !BUSY(n) &&
		    gv[WAY(n, m)] == 0 &&
		    (conf[n] & ID(m)) && REACH(n, m) ->
		gives++; gv[WAY(n, m)] = gen[n] + 1;
#ifdef GIVE_DROPS
		forget(n)
#else
#ifndef GIVE_EARLY
		hold(n, m, gen[n] + 1, sid[m])
#endif
#endif
	  }
#ifdef GIVE_EARLY		/* m is told before that is on disk, and n goes on */
	:: d_step { gv[WAY(n, m)] != 0 && up[n] && rec[n] == OWN && gen[n] < gv[WAY(n, m)] ->
		hold(n, m, gv[WAY(n, m)], sid[m]) }
#endif
	:: d_step { gv[WAY(n, m)] != 0 && up[m] ->
		if
		:: rec[m] == HELD && own[m] == n && osid[m] == sid[n] &&
		   gen[m] < gv[WAY(n, m)] ->
			gen[m] = gv[WAY(n, m)] - 1; take_over(m);
			if	/* its CLAIM at n is granted already */
			:: REACH(n, m) && rec[n] == HELD && own[n] == m && gen[n] == gen[m] ->
				conf[m] = conf[m] | ID(n); asked(m, n)
			:: else
			fi
		:: else
		fi;
		gv[WAY(n, m)] = 0 }
	/* STATUS: told that it is the owner. */
	:: d_step { rec[n] == HELD && own[n] == m && REACH(n, m) && rec[m] == HELD &&
		    own[m] == n && gen[m] >= gen[n] ->
		gen[n] = gen[m]; take_over(n) }

	/* DONE (R6, D-f). It may be lost: nothing depends on it. */
	:: d_step { (tell & BIT(n)) && REACH(n, m) && rec[m] != NONE && !BUSY(m) ->
		drop_gone(m) }
	od
}

inline crash(K)
{
	up[K] = false;
	if :: dlv[K] -> give_credit() :: else fi;
	dlv[K] = false; tell = tell & ~BIT(K); rdy[K] = false; todo[K] = 0; conf[K] = 0;
	if :: K == P && TAKEN(P) -> over() :: else fi;
	cut(K, (K + 1) % N);
#if N == 3
	cut(K, (K + 2) % N)
#endif
}

inline cut(L1, L2)
{
	link[LINK(L1, L2)] = false; ack[WAY(L1, L2)] = 0;
	gv[WAY(L2, L1)] = 0;
	st[WAY(L2, L1)] = 0; stsid[WAY(L2, L1)] = 0
}

inline start(U)
{
	up[U] = true; todo[U] = 0;
	if
	:: rec[U] == OWN && U == P && gen[U] == 1 ->
		todo[U] = ((list & IDS(1)) -> BIT(1) : 0);
#if N == 3
		todo[U] = todo[U] | ((list & IDS(2)) -> BIT(2) : 0)
#endif
	:: rec[U] == OWN && !(U == P && gen[U] == 1) -> todo[U] = OTHERS(U)
	:: else
	fi;
	rdy[U] = todo[U] == 0
}

inline wipe(W)
{
	if	/* with what it knew: each of the others may deliver again */
	:: GONE(W) || gen[W] > 1 ->
		give_credit();
#if N == 3
		give_credit()
#endif
	:: else
	fi;
	crash(W); forget(W); fin[W] = false; sid[W] = sid[W] + 1;
	if :: W == P -> knows = false :: else fi;
	start(W); no_loss()
}

inline snapshot(V)
{
	snapof = V + 1; srec = rec[V]; sgen = gen[V]; sown = own[V];
	sosid = osid[V]; sfin = fin[V];
	if :: V == P -> sknows = knows; slist = list :: else fi
}

inline restore(R)
{
	give_credit(); restored = true;
	stale = OTHER_LINKS(R);
	crash(R); forget(R);
	rec[R] = srec; gen[R] = sgen; own[R] = sown; osid[R] = sosid; fin[R] = sfin;
	if :: R == P -> knows = sknows; list = slist :: else fi;
	snapof = 0; srec = NONE; sgen = 0; sown = 0; sosid = 0; sfin = false;
	sknows = false; slist = 0;
	start(R); no_loss()
}

/* With nothing left that could break, faults are not tried. */
#if N == 2
#define FLYING		(st[1] != 0 || st[2] != 0)
#else
#define FLYING		(st[1] != 0 || st[2] != 0 || st[3] != 0 || st[5] != 0 || \
			st[6] != 0 || st[7] != 0)
#endif
#define AT_WORK		(!calm && ph != NEW && (ph != OVER || COPIES || FLYING))

proctype Fault(byte n)
{
end:	do
	:: d_step { AT_WORK && up[n] && crashes < MAXCRASH ->
		crashes++; crash(n) }
	:: d_step { !up[n] -> start(n) }
#ifndef NO_LOSE
	:: d_step { AT_WORK && disks < MAXDISK && sid[n] == 0 ->
		disks++; wipe(n) }
#endif
#ifdef RESTORE
	:: d_step { AT_WORK && snapof == 0 && disks < MAXDISK -> snapshot(n) }
	:: d_step { !calm && snapof == n + 1 && ph != NEW && disks < MAXDISK ->
		disks++; restore(n) }
#endif
	od
}

proctype Wire(byte a; byte b)
{
end:	do
	:: d_step { AT_WORK && link[LINK(a, b)] && drops < MAXDROP ->
		drops++; link[LINK(a, b)] = false }
	:: d_step { !link[LINK(a, b)] && up[a] && up[b] -> session(a, b) }
	od
}

/* Nothing more can happen: then all is done and nobody keeps anything. */
/* Faults are over; nothing more can happen: what must be true then? */
#ifdef CALM
#define COUNT(x)	((rec[0] == x) + (rec[1] == x) + (N == 3 && rec[N - 1] == x))
#if N == 2
#define FOR_OWNER(n)	(rec[n] != HELD || (rec[own[n]] == OWN && gen[n] == gen[own[n]]))
#else				/* or for one that holds it for the owner */
#define FOR_OWNER(n)	(rec[n] != HELD || rec[own[n]] != NONE)
#endif

active proctype Calm()
{
	calm = true;
end:	timeout ->
#ifndef STUCK
	assert(!COPIES && (finished || !prot))			/* I8 */
#else	/* The next hop is down: one owner, and a peer that holds it for him. */
	assert(COPIES || !prot);
	assert(!COPIES || (COUNT(OWN) == 1 && (COUNT(HELD) > 0 || !acked) &&
		FOR_OWNER(0) && FOR_OWNER(1) && FOR_OWNER(N - 1)))	/* I7 */
#endif
}
#endif

init {
	atomic {
		run Node(0); run Node(1); run Fault(0); run Fault(1);
		run Peer(0, 1); run Peer(1, 0); run Wire(0, 1);
#if N == 3
		run Node(2); run Fault(2);
		run Peer(0, 2); run Peer(2, 0); run Peer(1, 2); run Peer(2, 1);
		run Wire(0, 2); run Wire(1, 2);
#endif
	}
}

#ifdef ALIVE
ltl alive { [] ((calm && prot) -> <> finished) }
#endif
#ifdef ONE_OWNER
ltl one_owner { [] (calm -> <> [] (rec[0] != OWN || rec[1] != OWN)) }
#endif
