"""Small programs, one construct each, whose values are compared with those of real pandas: `df` are the bars, `out` the factor."""

CONSTRUCTS = r"""
c=df["$close"]; out=c.groupby(level="instrument").transform(lambda x: x.rolling(5).mean())
---
out=df.groupby(level="instrument")["$close"].rolling(5).std().droplevel(0)
---
out=df.groupby(level=1)["$close"].rolling(5,min_periods=2).sum().reset_index(level=0,drop=True)
---
out=df.groupby("instrument")["$close"].rolling(5,min_periods=2).max().reset_index(0,drop=True).sort_index()
---
g=df.groupby(level="instrument")["$close"]; out=(g.shift(1)-g.shift(3))/g.shift(5)
---
out=df.groupby(level="instrument")["$close"].pct_change()
---
out=df.groupby(level="instrument")["$close"].pct_change(3)
---
out=df.groupby(level="instrument")["$close"].transform(lambda x: x.pct_change(2))
---
out=df.groupby(level="instrument")["$close"].diff(2)
---
out=df.groupby(level="datetime")["$close"].rank(pct=True)
---
out=df.groupby(level="datetime")["$close"].rank(ascending=False,method="min")
---
out=df.groupby(level="datetime")["$close"].rank(method="dense",pct=True)
---
out=df.groupby(level="datetime")["$close"].rank(method="first")
---
out=df.groupby(level="datetime")["$close"].transform("mean")
---
out=df.groupby(level="datetime")["$close"].transform("std")
---
out=df.groupby(level="datetime")["$close"].transform("median")
---
out=df.groupby(level="datetime")["$volume"].transform("sum")
---
out=df.groupby(level="datetime")["$volume"].transform("count")
---
out=df.groupby(level="datetime")["$volume"].transform("max")
---
out=df.groupby(level="datetime")["$close"].transform(lambda x:(x-x.mean())/x.std())
---
out=df.groupby(level="datetime")["$close"].transform(lambda x:(x-x.mean())/(x.std()+1e-8))
---
out=df.groupby(level="datetime")["$close"].transform(lambda x:x.fillna(x.median()))
---
out=df.groupby(level="datetime")["$close"].transform(lambda x:x.clip(x.quantile(0.1),x.quantile(0.9)))
---
out=df.groupby(level="datetime")["$close"].transform(lambda x:(x-x.mean())/x.std() if x.std()>2 else x*0)
---
out=df.groupby(level="datetime")["$close"].transform(lambda x:(x-x.min())/(x.max()-x.min()))
---
out=df.groupby(level="datetime")["$close"].transform(lambda x:x.rank(pct=True)-0.5)
---
out=df.groupby(level="datetime",group_keys=False)["$close"].apply(lambda x:x-x.mean())
---
out=df.groupby(level="datetime")["$close"].apply(lambda x:x-x.mean()).droplevel(0)
---
m=df.groupby(level="datetime")["$close"].mean(); out=df["$close"]-df.index.get_level_values("datetime").map(m)
---
m=df.groupby(level="datetime")["$close"].mean(); out=df["$close"].sub(m,level="datetime")
---
m=df.groupby(level="datetime")["$close"].mean(); out=df["$close"]-m
---
m=df.groupby(level="datetime")["$close"].mean().rolling(5).mean(); out=df["$close"].sub(m,level=0)
---
df["m"]=df.groupby(level="datetime")["$close"].transform("mean"); out=df["$close"]/df["m"]
---
out=np.where(df["$close"]>df["$open"],1,-1); out=pd.Series(out,index=df.index)
---
out=pd.Series(np.where(df["$close"]>df["$open"],df["$volume"],-df["$volume"]),index=df.index).groupby(level=1).transform(lambda x:x.rolling(4).sum())
---
out=np.log(df["$close"]/df["$open"])
---
out=np.log1p(df["$volume"])
---
out=np.sign(df["$close"]-df["$open"])*np.sqrt(df["$volume"])
---
out=(df["$close"]-df["$open"]).abs()**0.5
---
out=df["$close"]**2/1e3
---
out=df["$close"].clip(lower=12)
---
out=df["$close"].clip(10,12)
---
out=df["$close"].replace(0,np.nan).fillna(0)
---
out=df["$volume"].replace([0,np.inf],np.nan)
---
out=df["$close"].where(df["$close"]>df["$open"])
---
out=df["$close"].mask(df["$close"]>df["$open"],0)
---
out=df["$close"].where(df["$close"]>df["$open"],df["$open"])
---
out=(df["$close"]>df["$open"]).astype(int)
---
out=(df["$close"]>df["$open"]).astype(float).groupby(level=1).transform(lambda x:x.rolling(5).mean())
---
out=(df["$close"]>df["$open"]).groupby(level=1).transform(lambda x:x.rolling(5).sum())
---
out=(df["$close"]>df["$open"])*df["$volume"]
---
out=((df["$close"]>df["$open"])&(df["$volume"]>1e4)).astype("float32")
---
out=df[["$close","$open"]].mean(axis=1)
---
out=df[["$close","$open","$high"]].max(axis=1)
---
out=df[["$close","$open","$high"]].std(axis=1)
---
out=df[["$close","$open","$high"]].sum(axis=1)
---
out=df["$close"].groupby(level=1).transform(lambda x:x.ewm(span=5).mean())
---
out=df["$close"].groupby(level=1).transform(lambda x:x.ewm(alpha=0.3,adjust=False).mean())
---
out=df["$close"].groupby(level=1).transform(lambda x:x.ewm(halflife=3,min_periods=4).mean())
---
out=df["$close"].groupby(level=1).ewm(span=5).mean().droplevel(0)
---
out=df["$close"].groupby(level=1).transform(lambda x:x.ffill())
---
out=df["$close"].groupby(level=1).ffill(limit=2)
---
out=df.groupby(level=1)[["$close","$open"]].ffill()["$close"]
---
w=df["$close"].unstack(); out=(w/w.shift(5)-1).stack()
---
w=df["$close"].unstack(); out=w.rank(axis=1,pct=True).stack()
---
w=df["$close"].unstack(); out=w.sub(w.mean(axis=1),axis=0).div(w.std(axis=1),axis=0).stack()
---
w=df["$close"].unstack(); out=w.rolling(5).corr(df["$volume"].unstack()).stack()
---
w=df["$close"].unstack(); r=w.pct_change(fill_method=None); m=r.mean(axis=1); out=r.apply(lambda x:x.rolling(10).corr(m)).stack()
---
w=df["$close"].unstack(); r=w.pct_change(fill_method=None); m=r.mean(axis=1); out=r.rolling(10).cov(m).stack()
---
w=df["$close"].unstack(); out=w.fillna(0).rolling(3).mean().stack()
---
w=df["$close"].unstack(); out=w.ffill(limit=2).diff().stack()
---
w=df.reset_index().pivot(index="datetime",columns="instrument",values="$close"); out=w.diff().stack()
---
w=df["$close"].unstack(); out=w.where(w>10).stack()
---
w=df["$close"].unstack(); out=(w-w.rolling(5).min())/(w.rolling(5).max()-w.rolling(5).min()); out=out.unstack().swaplevel().sort_index()
---
out=df.groupby(level=1).apply(lambda g:g["$close"].rolling(5).cov(g["$volume"])).droplevel(0)
---
out=df.groupby(level=1,group_keys=False).apply(lambda g:(g["$close"]*g["$volume"]).rolling(5).sum()/g["$volume"].rolling(5).sum())
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(6,min_periods=3).skew())
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(6,min_periods=3).kurt())
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(6,min_periods=3).median())
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(6,min_periods=3).quantile(0.3))
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(6,min_periods=3).quantile(0.3,interpolation="nearest"))
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(6,min_periods=3).quantile(0.3,interpolation="midpoint"))
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(6,min_periods=3).rank())
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(6).rank(pct=True,ascending=False,method="max"))
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(6).count())
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(6,min_periods=4).count())
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(6).var(ddof=0))
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(5).apply(lambda a:a[-1]-a[0],raw=True))
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(5).apply(lambda a:a.iloc[-1]/a.iloc[0]-1,raw=False))
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(5).apply(np.argmax,raw=True))
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(5,min_periods=3).apply(np.nanmean,raw=True))
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(5,min_periods=3).apply(lambda a:a.mean()/a.std(),raw=False))
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(5,min_periods=3).apply(lambda a:np.polyfit(np.arange(len(a)),a,1)[0],raw=True))
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(5).apply(lambda a:np.polyfit(range(5),a,1)[0],raw=True))
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(5).apply(lambda a:np.average(a,weights=[1,2,3,4,5]),raw=True))
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(5).apply(lambda a:(a>a.mean()).sum(),raw=True))
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(5).apply(lambda a:a[a>a.mean()].mean(),raw=True))
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(5).apply(lambda a:1.0 if a[-1]>a[:-1].max() else 0.0,raw=True))
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(5).apply(lambda a:np.percentile(a,80),raw=True))
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(5).apply(lambda a:pd.Series(a).rank().iloc[-1],raw=True))
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(5).apply(lambda a:np.abs(a-a.mean()).mean(),raw=True))
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(5).apply(lambda a:np.diff(a).std(),raw=True))
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(5).agg("mean"))
---
out=df["$close"].apply(lambda v:v*2 if v>12 else -v)
---
out=df["$close"].map(lambda v:1.0 if v>12 else (0.5 if v>11 else 0.0))
---
out=df.apply(lambda r:r["$close"]-r["$open"] if r["$close"]>12 else 0.0,axis=1)
---
out=df["$close"].groupby(level=1).transform(lambda x:x.shift(1).rolling(3).mean())
---
df=df.sort_index(level=["instrument","datetime"]); out=df.groupby(level=1)["$close"].shift(2)
---
df=df.swaplevel().sort_index(); out=df.groupby(level="instrument")["$close"].shift(2).swaplevel()
---
df=df.reset_index(); df["x"]=df.groupby("instrument")["$close"].shift(1); out=df.set_index(["datetime","instrument"])["x"]
---
df=df.reset_index().sort_values(["instrument","datetime"]); df["x"]=df.groupby("instrument")["$close"].transform(lambda x:x.rolling(3).mean()); out=df.set_index(["datetime","instrument"])["x"].sort_index()
---
d=df.dropna(subset=["$close"]); out=d.groupby(level=1)["$close"].shift(1)
---
d=df[df["$volume"]>20000]; out=d.groupby(level=1)["$close"].transform(lambda x:x.rolling(3).mean())
---
d=df[df["$volume"]>20000].copy(); d["x"]=df["$close"].groupby(level=1).shift(1); out=d["x"]
---
d=df[df["$volume"]>20000]; df["x"]=d["$close"]; out=df["x"].groupby(level=1).ffill()
---
a=df[df["$volume"]>20000]["$close"]; b=df[df["$close"]>12]["$open"]; out=a-b
---
df.loc[df["$close"]>12,"$close"]=np.nan; out=df["$close"]
---
df.loc[df["$close"]>12,"x"]=1.0; out=df["x"]
---
df["x"]=0.0; df.loc[df["$close"]>df["$open"],"x"]=df["$volume"]; out=df["x"]
---
df["$close"].fillna(0,inplace=True); out=df["$close"]
---
x=df["$close"]; x[x>12]=0; out=df["$close"]
---
df["x"]=df["$close"].rolling(3).mean() if False else 1.0; out=df["x"]*df["$close"]
---
r=[]
for k,g in df.groupby(level="instrument"):
    s=g["$close"].rolling(4).mean()
    r.append(s)
out=pd.concat(r).sort_index()
---
r={}
for k,g in df["$close"].groupby(level="instrument"):
    r[k]=g.droplevel(1).diff()
out=pd.concat(r,names=["instrument","datetime"]).swaplevel().sort_index()
---
r=[]
for k in df.index.get_level_values("instrument").unique():
    g=df.xs(k,level="instrument")
    s=g["$close"].rolling(4).mean().to_frame("f")
    s["instrument"]=k
    r.append(s.reset_index())
out=pd.concat(r).set_index(["datetime","instrument"])["f"].sort_index()
---
r=[]
for k in df.index.get_level_values(1).unique():
    g=df[df.index.get_level_values(1)==k]
    r.append(g["$close"].rolling(4).mean())
out=pd.concat(r)
---
r=[]
for k,g in df.groupby(level="datetime"):
    r.append((g["$close"]-g["$close"].mean())/g["$close"].std())
out=pd.concat(r)
---
df["x"]=np.nan
for k,g in df.groupby(level="instrument"):
    df.loc[g.index,"x"]=g["$close"].rolling(4).mean()
out=df["x"]
---
df["x"]=np.nan
for k,g in df.groupby(level="instrument"):
    df.loc[g.index,"x"]=g["$close"].rolling(4).mean().values
out=df["x"]
---
st=pd.read_parquet("static_factors.parquet"); out=df.join(st)["pe"]
---
st=pd.read_parquet("static_factors.parquet"); d=df.join(st,how="inner"); out=d["pe"]/d["$close"]
---
st=pd.read_parquet("static_factors.parquet"); out=st["pe"].reindex(df.index).groupby(level=1).ffill()
---
st=pd.read_parquet("static_factors.parquet"); d=df.join(st); out=d.groupby([d.index.get_level_values(0),"sector"])["$close"].transform("mean")
---
st=pd.read_parquet("static_factors.parquet"); d=df.reset_index().merge(st.reset_index(),on=["datetime","instrument"],how="left"); out=d.set_index(["datetime","instrument"]).groupby(["datetime","sector"])["$close"].rank()
---
st=pd.read_parquet("static_factors.parquet"); out=st["pe"].fillna(0)+df["$close"]
---
st=pd.read_parquet("static_factors.parquet"); d=pd.merge(df,st,left_index=True,right_index=True,how="left"); out=d["mv"]*d["$close"]
---
st=pd.read_parquet("static_factors.parquet"); d=pd.concat([df,st],axis=1); out=d["mv"]*d["$close"]
---
st=pd.read_parquet("static_factors.parquet"); d=df.merge(st,on=["datetime","instrument"],how="left"); out=d["mv"]*d["$close"]
---
a=df["$close"].groupby(level=1).shift(1); b=df["$close"].groupby(level=1).shift(2); out=pd.concat([a,b],axis=1).mean(axis=1)
---
a=df["$close"].groupby(level=1).shift(1).rename("a"); b=df["$close"].groupby(level=1).shift(2).rename("b"); out=pd.concat([a,b],axis=1).max(axis=1)
---
out=df["$close"].round(1)
---
out=df["$close"]//3
---
out=df["$close"]%3
---
out=df["$close"].groupby(level=1).transform(lambda x:(x-x.rolling(5).mean())/x.rolling(5).std())
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(5).max().shift(1))
---
out=df["$volume"].astype("int64",errors="ignore") if False else df["$close"].isna().astype(int)
---
out=df.index.get_level_values(0).dayofweek; out=pd.Series(out,index=df.index)*df["$close"]
---
out=df.assign(x=lambda d:d["$close"]-d["$open"])["x"]
---
out=df["$close"].groupby("instrument").shift(1)
---
g=df.groupby("instrument"); out=g["$close"].shift(1)/g["$open"].shift(1)
---
out=df.groupby(level="instrument").apply(lambda g:g.assign(x=g["$close"].diff()))["x"].droplevel(0)
---
out=df.groupby(level="instrument",group_keys=False).apply(lambda g:g.dropna()["$close"].diff())
---
df["r"]=df["$close"].groupby(level=1).pct_change(fill_method=None); out=df.groupby(level=0)["r"].transform(lambda x:x.corr(x))
---
c=df.groupby(level=0).apply(lambda g:g["$close"].corr(g["$volume"])); out=df["$close"]*df.index.get_level_values(0).map(c)
---
out=df["$close"].groupby(level=1).shift(1,fill_value=0)
---
out=(df["$close"].groupby(level=1).diff()>0).astype(int).groupby(level=1).transform(lambda x:x.rolling(5).sum())
---
out=-df["$close"]
---
out=1/df["$volume"]
---
out=df["$close"]/0
---
out=np.maximum(df["$close"],np.float64(12.1))
---
out=df["$close"]*np.float64(1.1)
---
out=df["$close"].values*np.float64(1.1); out=pd.Series(out,index=df.index)
---
out=pd.Series(np.clip(df["$close"].values,10,12),index=df.index)
---
out=np.clip(df["$close"],10,12)
---
out=pd.Series(np.nan_to_num(df["$close"]),index=df.index)
---
out=pd.Series(np.select([df["$close"]>13,df["$close"]>11],[2.0,1.0],default=0.0),index=df.index)
---
out=pd.Series(np.select([df["$close"]>13,df["$close"]>11],[2,1]),index=df.index)
---
out=df["$close"].combine_first(df["$open"])
---
out=df["$close"].fillna(df["$open"])
---
out=df["$close"].between(10,12).astype(float)
---
out=df["$close"].sub(df["$open"]).div(df["$open"]).mul(100)
---
out=df["$close"].add(df["$open"],fill_value=0)
---
out=df["$close"].rsub(1)
---
out=df["$close"].groupby(level=1).transform(lambda x:np.where(x>x.shift(1),1.0,0.0))
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(window=5,min_periods=1).mean().fillna(0))
---
df.columns=df.columns.str.replace("$","",regex=False); out=df["close"]-df["open"]
---
df=df.rename(columns={c:c.replace("$","") for c in df.columns}); out=df.close-df.open
---
df=df[["$close","$open"]].copy(); df["d"]=df["$close"]-df["$open"]; df=df.drop(columns=["$open"]); out=df["d"]
---
x=df["$close"].groupby(level=1).rolling(3).mean(); x.index=x.index.droplevel(0); df["x"]=x; out=df["x"]
---
df=df.sort_index(level=1); df["x"]=df.groupby(level=1)["$close"].rolling(3).mean().values; out=df["x"]
---
df["x"]=df.groupby(level=1)["$close"].transform(lambda x:x.rolling(3).mean()).values; out=df["x"]
---
df["x"]=df["$close"].groupby(level=1).apply(lambda x:x.rolling(3).mean()).reset_index(level=0,drop=True); out=df["x"]
---
out=df.groupby([pd.Grouper(level="instrument")])["$close"].shift(1)
---
out=df.groupby(level=["instrument"])["$close"].shift(1)
---
z=lambda s:(s-s.groupby(level=0).transform("mean"))/s.groupby(level=0).transform("std"); out=z(df["$close"])+z(df["$volume"])
---
out=df["$close"].groupby(level=1).transform(lambda x:x.rolling(5).sem())
---
r={}
for k,g in df["$close"].groupby(level="instrument"):
    s=g.droplevel("instrument")
    w=s.resample("W-FRI").last()
    r[k]=(w/w.shift(2)-1).reindex(s.index,method="ffill")
out=pd.concat(r,names=["instrument","datetime"]).swaplevel().sort_index()
---
r={}
for k,g in df["$close"].groupby(level="instrument"):
    s=g.droplevel("instrument")
    w=s.astype("float64").resample("W-WED").mean()
    r[k]=w.diff().reindex(s.index,method="ffill")
out=pd.concat(r,names=["instrument","datetime"]).swaplevel().sort_index()
---
r={}
for k,g in df["$close"].groupby(level="instrument"):
    s=g.droplevel("instrument")
    w=s.resample("W").max()-s.resample("W").min()
    r[k]=w.shift(1).reindex(s.index,method="ffill")
out=pd.concat(r,names=["instrument","datetime"]).swaplevel().sort_index()
---
r={}
for k,g in df["$close"].groupby(level="instrument"):
    s=g.droplevel("instrument")
    w=s.resample("W-MON").first()
    r[k]=w.pct_change(3,fill_method=None).reindex(s.index,method="pad")
out=pd.concat(r,names=["instrument","datetime"]).swaplevel().sort_index()
---
r={}
for k,g in df["$close"].groupby(level="instrument"):
    s=g.droplevel("instrument")
    w=s.resample("ME").last()
    r[k]=(w/w.shift(1)-1).reindex(s.index,method="ffill")
out=pd.concat(r,names=["instrument","datetime"]).swaplevel().sort_index()
"""

HEAD = 'import pandas as pd\nimport numpy as np\ndf = pd.read_hdf("daily_pv.h5", key="data")\n'
TAIL = '\nout.to_frame("f").to_hdf("result.h5", key="data")\n'

PROGRAMS = {
    "dataclass": r"""import pandas as pd
import numpy as np
from dataclasses import dataclass
@dataclass
class Cfg:
    win: int = 6
    mp: int = 3
def run(cfg: Cfg = Cfg()):
    df = pd.read_hdf("daily_pv.h5", key="data")
    r = df.groupby(level="instrument")["$close"].pct_change(fill_method=None)
    up = r.clip(lower=0); dn = (-r).clip(lower=0)
    g = lambda s: s.groupby(level="instrument").transform(lambda x: x.rolling(cfg.win, min_periods=cfg.mp).mean())
    rs = g(up) / g(dn).replace(0, np.nan)
    out = 100 - 100/(1+rs)
    out.name="rsi"
    out.to_frame().to_hdf("result.h5", key="data")
if __name__ == "__main__":
    run()
""",
    "twoframe": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data")
df["ret"]=df.groupby(level="instrument")["$close"].pct_change(fill_method=None)
df["amt"]=df["$close"]*df["$volume"]
df["illiq"]=df["ret"].abs()/df["amt"].replace(0,np.nan)
df["f"]=df.groupby(level="instrument")["illiq"].transform(lambda x:x.rolling(10,min_periods=5).mean())
df["f"]=np.log(df["f"]*1e8+1)
df["f"]=df.groupby(level="datetime")["f"].transform(lambda x:(x-x.mean())/x.std(ddof=0))
res=df[["f"]].dropna()
res.to_hdf("result.h5", key="data")
""",
    "vwap": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data")
tp=(df["$high"]+df["$low"]+df["$close"])/3
pv=(tp*df["$volume"]).groupby(level=1).rolling(7).sum().droplevel(0)
v=df["$volume"].groupby(level=1).rolling(7).sum().droplevel(0)
f=(df["$close"]-pv/v)/(pv/v)
f=f.replace([np.inf,-np.inf],np.nan)
f.rename("f").to_frame().sort_index().to_hdf("result.h5", key="data")
""",
    "neutral": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data")
st=pd.read_parquet("static_factors.parquet")
df=df.join(st[["mv","sector"]],how="left")
df["r"]=df.groupby(level=1)["$close"].pct_change(5,fill_method=None)
def reg(g):
    x=np.log(g["mv"]); y=g["r"]
    ok=x.notna()&y.notna()
    x=x.where(ok); y=y.where(ok)
    b=((x-x.mean())*(y-y.mean())).sum()/((x-x.mean())**2).sum()
    return y-y.mean()-b*(x-x.mean())
out=df.groupby(level=0,group_keys=False)[["mv","r"]].apply(reg)
out.to_frame("f").to_hdf("result.h5", key="data")
""",
    "sectormean": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data").reset_index()
st=pd.read_parquet("static_factors.parquet").reset_index()
m=df.merge(st,on=["datetime","instrument"],how="inner")
m["z"]=m.groupby(["datetime","sector"])["pe"].transform(lambda x:(x-x.mean())/x.std())
m=m.set_index(["datetime","instrument"]).sort_index()
m[["z"]].to_hdf("result.h5", key="data")
""",
    "flip": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data")
r=df["$close"].groupby(level=1).pct_change(3,fill_method=None)
vol=r.groupby(level=1).transform(lambda x:x.rolling(8,min_periods=4).std())
med=vol.groupby(level=0).transform("median")
f=r.copy()
f[vol>med]=-f[vol>med]
f.to_frame("f").to_hdf("result.h5", key="data")
""",
    "monthpos": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data")
d=df.index.get_level_values("datetime")
df["f"]=np.where(d.month==1, 0.0, df["$close"]/df["$open"])
df[["f"]].to_hdf("result.h5", key="data")
""",
    "wq": r"""import pandas as pd
import numpy as np
def rank(s): return s.groupby(level="datetime").rank(pct=True)
def delta(s,n): return s.groupby(level="instrument").diff(n)
def ts_rank(s,n): return s.groupby(level="instrument").transform(lambda x:x.rolling(n).rank(pct=True))
def corr(a,b,n):
    t=pd.DataFrame({"a":a,"b":b})
    return t.groupby(level="instrument",group_keys=False).apply(lambda g:g["a"].rolling(n).corr(g["b"]))
df = pd.read_hdf("daily_pv.h5", key="data")
f=-1*corr(rank(delta(np.log(df["$volume"]),2)),rank((df["$close"]-df["$open"])/df["$open"]),6)
f=f.replace([np.inf,-np.inf],np.nan)
pd.DataFrame({"alpha2":f}).to_hdf("result.h5", key="data")
""",
    "decay": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data")
n=5
w=np.arange(1,n+1); w=w/w.sum()
f=sum(w[n-1-i]*df.groupby(level=1)["$close"].shift(i) for i in range(n))
f.to_frame("f").to_hdf("result.h5", key="data")
""",
    "atr_max": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data")
pc=df.groupby(level=1)["$close"].shift(1)
tr=np.maximum(df["$high"]-df["$low"],np.maximum((df["$high"]-pc).abs(),(df["$low"]-pc).abs()))
df["tr"]=tr
f=df.groupby(level=1)["tr"].transform(lambda x:x.rolling(14).mean())
(f/df["$close"]).to_frame("f").to_hdf("result.h5", key="data")
""",
    "kdj": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data")
def kdj(g):
    lo=g["$low"].rolling(9,min_periods=1).min(); hi=g["$high"].rolling(9,min_periods=1).max()
    rsv=(g["$close"]-lo)/(hi-lo)*100
    k=rsv.ewm(com=2,adjust=False).mean(); d=k.ewm(com=2,adjust=False).mean()
    return 3*k-2*d
f=df.groupby(level="instrument").apply(kdj).reset_index(level=0,drop=True).sort_index()
f.to_frame("f").to_hdf("result.h5", key="data")
""",
    "slope": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data")
x=np.arange(8); x=x-x.mean()
def slope(y):
    return (x*(y-y.mean())).sum()/(x**2).sum()
f=np.log(df["$close"]).groupby(level=1).transform(lambda s:s.rolling(8).apply(slope,raw=True))
f.to_frame("f").to_hdf("result.h5", key="data")
""",
    "maxdd": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data")
f=df["$close"].groupby(level=1).transform(lambda s:s/s.rolling(15,min_periods=1).max()-1)
f=f.groupby(level=1).transform(lambda s:s.rolling(15,min_periods=1).min())
f.to_frame("f").to_hdf("result.h5", key="data")
""",
    "streak": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data")
up=(df.groupby(level=1)["$close"].diff()>0).astype(int)
f=up.groupby(level=1).transform(lambda s:s.rolling(10).apply(lambda a:a[-3:].sum()/3 if a.sum()>4 else 0,raw=True))
f.to_frame("f").to_hdf("result.h5", key="data")
""",
    "bbands": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data")
g=df.groupby(level=1)["$close"]
ma=g.transform(lambda s:s.rolling(10).mean()); sd=g.transform(lambda s:s.rolling(10).std())
f=((df["$close"]-(ma-2*sd))/(4*sd)).where(sd>1e-6)
f.to_frame("f").to_hdf("result.h5", key="data")
""",
    "longloop": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data")
out=[]
for inst, g in df.groupby("instrument"):
    g=g.copy()
    for n in (3,5,8):
        g[f"m{n}"]=g["$close"].rolling(n).mean()/g["$close"]-1
    g["f"]=g[["m3","m5","m8"]].mean(axis=1)
    out.append(g[["f"]])
pd.concat(out).sort_index().to_hdf("result.h5", key="data")
""",
    "rankmul": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data")
df["r"]=df.groupby(level=1)["$close"].transform(lambda s:s.pct_change(5,fill_method=None))
df["v"]=df.groupby(level=1)["$volume"].transform(lambda s:s/s.rolling(10).mean())
df[["rr","rv"]]=df.groupby(level=0)[["r","v"]].rank(pct=True)
df["f"]=df["rr"]*df["rv"]
df[["f"]].to_hdf("result.h5", key="data")
""",
    "widez": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data")
w=df["$close"].unstack("instrument")
z=(w-w.rolling(10).mean())/w.rolling(10).std()
z=z.sub(z.mean(axis=1),axis=0)
z=z.clip(-3,3)
f=z.stack(); f.name="f"
f.to_frame().to_hdf("result.h5", key="data")
""",
    "cumret": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data")
r=df["$close"].groupby(level=1).pct_change(fill_method=None)
f=(1+r).groupby(level=1).transform(lambda s:s.rolling(5).apply(np.prod,raw=True))-1
f.to_frame("f").to_hdf("result.h5", key="data")
""",
    "mergedate": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data").reset_index()
df["r"]=df.groupby("instrument")["$close"].pct_change(fill_method=None)
m=df.groupby("datetime")["r"].mean().rename("mkt").reset_index()
df=df.merge(m,on="datetime",how="left")
df["x"]=df["r"]-df["mkt"]
df=df.set_index(["datetime","instrument"]).sort_index()
df["f"]=df.groupby(level=1)["x"].transform(lambda s:s.rolling(5).sum())
df[["f"]].to_hdf("result.h5", key="data")
""",
    "applydate": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data")
def f(g):
    g=g.copy()
    g["f"]=(g["$close"]-g["$close"].median())/(g["$close"]-g["$close"].median()).abs().median()
    return g[["f"]]
df.groupby(level="datetime",group_keys=False).apply(f).to_hdf("result.h5", key="data")
""",
    "winsor3": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data")
r=df["$close"].groupby(level=1).pct_change(3,fill_method=None)
m=r.groupby(level=0).transform("mean"); s=r.groupby(level=0).transform("std")
w=r.clip(m-3*s,m+3*s)
w=w.fillna(w.groupby(level=0).transform("median"))
w.to_frame("f").to_hdf("result.h5", key="data")
""",
    "notna_count": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data")
n=df["$close"].notna().groupby(level=1).rolling(10,min_periods=1).sum().droplevel(0)
f=df["$close"].groupby(level=1).transform(lambda s:s.rolling(10,min_periods=1).mean()).where(n>=8)
f.to_frame("f").to_hdf("result.h5", key="data")
""",
    "reordered": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data").reset_index().sort_values(["instrument","datetime"])
g=df.groupby("instrument")
df["a"]=g["$close"].transform(lambda s:s.rolling(5).mean())
df["b"]=(df["$close"]-df["a"]).abs()
df["f"]=df.groupby("instrument")["b"].rolling(5).mean().values
df.set_index(["datetime","instrument"])[["f"]].to_hdf("result.h5", key="data")
""",
    "arr_positional_ok": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data")
c=df["$close"].values; o=df["$open"].values
with np.errstate(divide="ignore",invalid="ignore"):
    f=np.where(o!=0,c/o-1,np.nan)
pd.DataFrame({"f":f},index=df.index).to_hdf("result.h5", key="data")
""",
    "np_float32": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data").astype(np.float64)
f=df["$close"]/df.groupby(level=1)["$close"].shift(3)
f.astype(np.float32).to_frame("f").to_hdf("result.h5", key="data")
""",
    "corrwide": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data")
c=df["$close"].unstack(); v=df["$volume"].unstack()
f=c.pct_change(fill_method=None).rolling(8,min_periods=5).corr(v.pct_change(fill_method=None).replace([np.inf,-np.inf],np.nan))
f.stack().to_frame("f").to_hdf("result.h5", key="data")
""",
    "cov_var": r"""import pandas as pd
import numpy as np
df = pd.read_hdf("daily_pv.h5", key="data").sort_index()
df["r"]=df.groupby(level=1)["$close"].pct_change(fill_method=None)
df["m"]=df["r"].groupby(level=0).transform("mean")
b=df.groupby(level=1).apply(lambda g:g["r"].rolling(12,min_periods=6).cov(g["m"])/g["m"].rolling(12,min_periods=6).var())
b=b.droplevel(0).sort_index()
b.to_frame("f").to_hdf("result.h5", key="data")
""",
}
